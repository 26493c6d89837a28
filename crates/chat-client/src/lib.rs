//! The Rust client: connect, resume, reconnect, typed events.
