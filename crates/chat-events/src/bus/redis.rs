//! The bus over Redis pub/sub: one server, the master that Sentinels name, or a Cluster with its sharded pub/sub.
//!
//! A scout finds out which server has which topics, and each server has connections of its own: one that hangs holds up
//! no other for longer than a quarter of a second, once. Publishing has one connection to each, subscribing a few, between
//! which topics are shared. A client that subscribes does nothing else but PING, because the replies of other commands
//! could be paired with the wrong callers after a reconnection.
//! [`RedisKeys`] is beside the bus: commands on keys, for the session registry, over the same knowledge of the servers.

mod access;
mod keeper;
mod keys;
mod line;
mod metrics;
mod publisher;
mod reader;
mod routes;
mod scout;
mod status;
mod subscriber;
mod topology;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

pub use keys::{Command, RedisKeys, Reply};
pub use metrics::{Instruments as RedisInstruments, Metrics as RedisMetrics};
pub use publisher::RedisPublisher;
pub use subscriber::RedisSubscriber;

use super::BusError;

/// A shorter timeout would take a busy Redis for a dead one.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// The client's own default, which loses payloads in every burst.
const MIN_BUFFER: usize = 32;
/// About 700 MB when it is full, for each connection that is subscribed on.
const MAX_BUFFER: usize = 1_048_576;
/// Each has its own buffer of received events, and takes a part of one core of Redis.
const MAX_SUBSCRIBER_CONNECTIONS: usize = 16;

/// Section `[redis]`: how Redis is reached.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://…` or `rediss://…`, with user, password and database; `redis-sentinel://…` with all Sentinels;
    /// `redis-cluster://…` with some nodes.
    #[serde(serialize_with = "masked_url")]
    pub url: SecretString,
    /// How long a command may take before it counts as failed.
    #[serde(with = "humantime_serde")]
    pub command_timeout: Duration,
    /// How long a topic stays subscribed after the last interest in it was dropped.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// How many payloads may wait to be taken from the receive buffer before the oldest are dropped, which is told as
    /// [`Interruption::Overrun`](super::Interruption::Overrun). A full buffer of 16 384 takes about 11 MB.
    pub receive_buffer: usize,
    /// Connections to each Redis server that topics are subscribed on, each with its share of them and a receive buffer
    /// of its own. A subscription is not stuck behind all that comes, and several cores read.
    pub subscriber_connections: usize,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".into(),
            command_timeout: Duration::from_secs(2),
            linger: Duration::from_secs(30),
            receive_buffer: 16_384,
            subscriber_connections: 2,
        }
    }
}

impl RedisConfig {
    /// Are the values within their bounds? The text names key, value and what is allowed.
    pub fn check(&self) -> Result<(), BusError> {
        if self.command_timeout < MIN_TIMEOUT {
            let text = format!("redis.command_timeout = {:?}; allowed: at least {MIN_TIMEOUT:?}", self.command_timeout);
            return Err(BusError::Address(text));
        }
        if !(MIN_BUFFER..=MAX_BUFFER).contains(&self.receive_buffer) {
            let text = format!("redis.receive_buffer = {}; allowed: {MIN_BUFFER} to {MAX_BUFFER}", self.receive_buffer);
            return Err(BusError::Address(text));
        }
        if !(1..=MAX_SUBSCRIBER_CONNECTIONS).contains(&self.subscriber_connections) {
            let text = format!(
                "redis.subscriber_connections = {}; allowed: 1 to {MAX_SUBSCRIBER_CONNECTIONS}",
                self.subscriber_connections
            );
            return Err(BusError::Address(text));
        }
        access::Access::new(self).map(drop)
    }
}

fn masked_url<S: Serializer>(url: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    // Also what is between the scheme and the host is left out: a user name tells enough.
    let url = url.expose_secret();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
    let place = rest.split('?').next().unwrap_or_default();
    match place.rsplit_once('@') {
        Some((_, host)) => serializer.serialize_str(&format!("{scheme}://***@{host}")),
        None => serializer.serialize_str(&format!("{scheme}://{place}")),
    }
}

fn unavailable(error: &fred::error::Error) -> BusError {
    BusError::Unavailable(error.details().to_owned())
}

fn not_connected() -> BusError {
    BusError::Unavailable("not connected, or the last answer is still missing".into())
}
