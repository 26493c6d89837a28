//! The plumbing on real sockets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper that cannot do its work fails the test")]

mod health;
mod http;
mod loggers;
mod management;
mod metrics;
mod port;
