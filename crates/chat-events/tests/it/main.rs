//! The contract of the buses, on a real Redis and in memory, and what is Redis's own: interruptions.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what does not work fails the test")]

mod cluster;
mod contract;
mod harness;
mod interruptions;
mod rights;
mod sentinel;
