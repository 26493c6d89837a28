//! The fixtures do what the other tests rely on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres;
mod proxy;
mod redis;
mod wait;
