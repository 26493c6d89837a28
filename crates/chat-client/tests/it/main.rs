//! The client against a scripted server on a real socket: what a real server does only under faults is done on demand.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that cannot do its work fails the test"
)]

mod backpressure;
mod catching_up;
mod ending;
mod http_peer;
mod peer;
mod resume;
mod sending;
mod tokens;
