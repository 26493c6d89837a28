//! Fans room events out to WebSocket sessions.
