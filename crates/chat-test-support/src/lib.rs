//! Real servers for tests: nothing here imitates Redis, PostgreSQL or the network, it starts or breaks the real one.
//!
//! - [`browser::Browser`]: a real Chromium.
//! - [`node::Node`]: a JavaScript program.
//! - [`redis::RedisServer`]: an own Redis process per test, which can be killed, restarted and frozen;
//!   [`redis::RedisSentinels`] and [`redis::RedisCluster`]: the same for what stands in production.
//! - [`postgres::Database`]: a fresh database per test, dropped at the end.
//! - [`postgres::PostgresServer`]: an own PostgreSQL server, which can be crashed, restarted and frozen.
//! - [`prometheus::Prometheus`]: a real Prometheus, to scrape servers with.
//! - [`proxy::TcpProxy`]: a TCP forwarder that cuts, stalls or slows a connection on demand.
//! - [`system::System`]: the servers as real processes, with Redis and storage, and users who call the HTTP API.
//! - [`wait`]: wait for a condition with a deadline, instead of sleeping.
//!
//! A missing server is a failed test that says how to get it, never a skipped one.

#![expect(clippy::expect_used, clippy::panic, reason = "a fixture that cannot do its work fails the test")]

pub mod browser;
mod environment;
pub mod http_api;
pub mod node;
pub mod port;
pub mod postgres;
mod process;
pub mod prometheus;
pub mod proxy;
pub mod redis;
pub mod system;
pub mod tokens;
pub mod wait;

pub use wait::{wait_for, wait_until};
