//! The contract between the servers.
//!
//! - [`topic`]: the Redis pub/sub topics, spelled here and nowhere else.
//! - [`event`]: entries of a channel's log, as published, replayed and sent to clients.
//! - [`signal`]: what is ephemeral and has no `seq`.
//! - [`presence`]: who is here.
//! - [`bus`] (feature `bus`): publishing and subscribing, over Redis and in memory.
//!
//! # Version rules
//!
//! During a rolling deploy two versions are live. A field is only ever added, never renamed, retyped or taken away;
//! unknown fields are ignored; an unknown `type` is passed on to clients, which ignore it. The golden files in
//! `src/snapshots` freeze each payload and each topic name.

#[cfg(feature = "bus")]
pub mod bus;
pub mod event;
pub mod presence;
pub mod signal;
pub mod topic;

pub use event::{Event, EventHeader, EventType};
pub use presence::{PresenceSignal, PresenceStatus, UserPresence};
pub use signal::UserSignal;
pub use topic::Topic;
