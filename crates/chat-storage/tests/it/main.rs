//! One contract, kept by both adapters on real servers.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod append;
mod channels;
mod concurrency;
mod epochs;
mod faults;
mod history;
mod idempotency;
mod metrics;
mod open;
mod processes;
mod users;
mod world;
