//! The ports of `chat-domain` over SQLite and PostgreSQL.
//!
//! - [`DatabaseConfig`], [`open`]: which store, and a way in. The URL's scheme picks the adapter.
//! - `batch`: what a batch of commands becomes; the rules themselves are `chat_domain::Ledger`. `create`: the same for a
//!   new channel.
//! - `sqlite`, `postgres`: the adapters. Each has its own SQL where the dialects differ (locks, arrays); what reads the
//!   same in both is in `sql`, what the rows mean in `rows`, how a page of history is put together in `history`.
//! - `bounded`: what every operation passes through: its deadline, and what `metrics` counts of it.
//! - `error`: which failure is "not now" and which is "not so".
//!
//! # What holds in both
//!
//! - A channel's sequence numbers are given out under a lock of that channel, in the transaction that writes the events:
//!   who sees number *n* committed can read all before it.
//! - Channels are locked in the order of their ids, so batches of several processes wait in line, not in a circle.
//! - Times are milliseconds as BIGINT, because the domain's timestamps have no more than that: no rounding, no time zone,
//!   and the same code for both stores.
//! - Every call is bounded: by the wait for a connection, by the time a statement may take, and by an overall deadline.

mod batch;
mod bounded;
mod config;
mod create;
mod error;
mod history;
mod metrics;
mod postgres;
mod rows;
mod sql;
mod sqlite;

pub use config::{DatabaseConfig, OpenError, open, open_measured};
