//! Structured logs with trace ids.
