//! The bus over Redis pub/sub.
//!
//! Publishing and subscribing have a connection each: a client that subscribes does nothing else but PING, because the
//! replies of other commands could be paired with the wrong callers after a reconnection.

mod keeper;
mod publisher;
mod subscriber;

use std::time::Duration;

use fred::{
    prelude::{Builder, Config, ReconnectPolicy},
    types::RespVersion,
};
use secrecy::{ExposeSecret, SecretString};

pub use publisher::RedisPublisher;
pub use subscriber::RedisSubscriber;

use super::BusError;

/// How Redis is reached.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `redis://…` or `rediss://…`, with user, password and database; `redis-sentinel://…` for Sentinel.
    pub url: SecretString,
    /// How long a command may take before it counts as failed.
    pub command_timeout: Duration,
    /// How long a topic stays subscribed after the last interest in it was dropped.
    pub linger: Duration,
    /// How many payloads may wait to be taken from the receive buffer before the oldest are dropped, which is told as
    /// [`Interruption::Overrun`](super::Interruption::Overrun). A full buffer of 16 384 takes about 11 MB.
    pub receive_buffer: usize,
}

impl RedisConfig {
    /// Redis at this URL, with timeouts and bounds that suit a server room.
    pub fn new(url: SecretString) -> Self {
        Self { url, command_timeout: Duration::from_secs(2), linger: Duration::from_secs(30), receive_buffer: 16_384 }
    }

    fn builder(&self) -> Result<Builder, BusError> {
        let mut config = Config::from_url(self.url.expose_secret())
            // The library's text may quote the URL, and with it the password.
            .map_err(|_| {
                BusError::Address(
                    "the Redis URL cannot be read: expected redis://, rediss:// or redis-sentinel://".into(),
                )
            })?;
        if config.server.is_clustered() {
            return Err(BusError::Address(
                "Redis Cluster is not supported: name a standalone Redis or Sentinels".into(),
            ));
        }
        // RESP3 tells replies from pushes, so that PING is a fence behind SUBSCRIBE.
        config.version = RespVersion::RESP3;
        // A server starts while Redis is away, and says so in its readiness.
        config.fail_fast = false;

        let mut builder = Builder::from_config(config);
        builder
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2))
            .with_performance_config(|performance| {
                performance.default_command_timeout = self.command_timeout;
                performance.broadcast_channel_capacity = self.receive_buffer;
            })
            .with_connection_config(|connection| {
                connection.connection_timeout = self.command_timeout;
                connection.internal_command_timeout = self.command_timeout;
                connection.unresponsive.max_timeout = Some(self.command_timeout);
                connection.unresponsive.interval = self.command_timeout / 4;
                connection.reconnect_on_auth_error = true;
            });
        Ok(builder)
    }
}

fn unavailable(error: &fred::error::Error) -> BusError {
    BusError::Unavailable(error.details().to_owned())
}
