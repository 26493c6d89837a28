//! What the URL says: where Redis is, and how a server of it is connected to.

use std::time::Duration;

use fred::{
    clients::Client,
    interfaces::ClientLike,
    prelude::{Builder, Config, ReconnectPolicy, ServerConfig},
    types::{ConnectHandle, RespVersion, config::Server},
};
use secrecy::ExposeSecret;

use super::RedisConfig;
use crate::bus::BusError;

const SCHEMES: [&str; 6] = ["redis", "rediss", "redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster"];

/// Buffer for what a client tells of itself: nobody counts these, only that there was one matters.
const NOTICES: usize = 32;

/// Before the first attempt to connect, in milliseconds, and as much again at random.
const FIRST_WAIT: u32 = 5;
/// Most between two attempts, in milliseconds.
const LONGEST_WAIT: u32 = 1_000;

/// How Redis is reached.
pub(super) struct Access {
    pub(super) place: Place,
    pub(super) command_timeout: Duration,
    /// To each server.
    pub(super) subscriber_connections: usize,
    receive_buffer: usize,
    /// Credentials, TLS and database of the servers.
    server: Config,
}

/// Where Redis is.
pub(super) enum Place {
    /// One server.
    One(Server),
    /// The server that these Sentinels name.
    Sentinels { sentinels: Vec<Server>, service: String, username: Option<String>, password: Option<String> },
    /// The Cluster that these nodes belong to.
    Cluster(Vec<Server>),
}

impl Access {
    pub(super) fn new(config: &RedisConfig) -> Result<Self, BusError> {
        let url = config.url.expose_secret();
        let scheme = url.split("://").next().unwrap_or_default();
        if !SCHEMES.contains(&scheme) {
            return Err(BusError::Address(format!("redis.url must begin with one of {SCHEMES:?}, each with ://")));
        }
        // The library's text may quote the URL, and with it the password.
        let unreadable = || BusError::Address("redis.url cannot be read".to_owned());
        let mut server = Config::from_url(url).map_err(|_| unreadable())?;
        // RESP3 tells replies from pushes, so that PING is a fence behind SUBSCRIBE.
        server.version = RespVersion::RESP3;
        let place = match server.server.clone() {
            ServerConfig::Centralized { server } => Place::One(server),
            ServerConfig::Clustered { hosts, .. } => Place::Cluster(hosts),
            ServerConfig::Sentinel { hosts, service_name, username, password } => {
                Place::Sentinels { sentinels: hosts, service: service_name, username, password }
            }
        };
        let RedisConfig { command_timeout, receive_buffer, subscriber_connections, .. } = *config;
        Ok(Self { place, command_timeout, subscriber_connections, receive_buffer, server })
    }

    /// Is it a Cluster, where each topic has its server?
    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }

    /// A connection to publish or send commands on, made in the background, and again whenever it is lost.
    pub(super) fn sending(&self, server: &Server) -> Result<Connection, BusError> {
        Connection::start(&self.lasting(server, NOTICES))
    }

    /// The same to subscribe on.
    pub(super) fn subscribing(&self, server: &Server) -> Result<Connection, BusError> {
        Connection::start(&self.lasting(server, self.receive_buffer))
    }

    /// A connection to ask who has what, which stands when this returns and is not made again.
    pub(super) async fn asking(&self, server: &Server) -> Result<Connection, fred::error::Error> {
        let mut builder = self.builder(server, NOTICES);
        builder.with_config(|config| {
            config.fail_fast = true;
            config.database = None;
            if let Place::Sentinels { username, password, .. } = &self.place {
                (config.username, config.password) = (username.clone(), password.clone());
            }
        });
        let client = builder.build()?;
        let task = client.init().await?;
        Ok(Connection { client, task })
    }

    fn lasting(&self, server: &Server, buffer: usize) -> Builder {
        let mut builder = self.builder(server, buffer);
        builder.set_policy(reconnecting());
        // What broke with the connection is not kept for the next one: the keeper subscribes it again, and what was not
        // published is in the log.
        builder.with_connection_config(|connection| connection.max_command_attempts = 1);
        builder
    }

    fn builder(&self, server: &Server, buffer: usize) -> Builder {
        let mut config = self.server.clone();
        config.server = ServerConfig::Centralized { server: server.clone() };
        // A server starts while Redis is away, and says so in its readiness.
        config.fail_fast = false;
        let mut builder = Builder::from_config(config);
        builder
            .with_performance_config(|performance| {
                performance.default_command_timeout = self.command_timeout;
                performance.broadcast_channel_capacity = buffer;
            })
            .with_connection_config(|connection| {
                connection.connection_timeout = self.command_timeout;
                connection.internal_command_timeout = self.command_timeout;
                connection.unresponsive.max_timeout = Some(self.command_timeout);
                connection.unresponsive.interval = self.command_timeout / 4;
                connection.reconnect_on_auth_error = true;
                // What is sent is whole, and waits for no more.
                connection.tcp.nodelay = Some(true);
            });
        builder
    }
}

/// How a connection is made, and made again when it is lost, for ever. The library waits before the very first attempt
/// too, and adds up to 100 ms at random unless it is told otherwise: so the first wait is short, and each is twice the
/// last one, up to the longest.
fn reconnecting() -> ReconnectPolicy {
    const NO_END: u32 = 0;
    let mut policy = ReconnectPolicy::new_exponential(NO_END, FIRST_WAIT, LONGEST_WAIT, 2);
    policy.set_jitter(FIRST_WAIT);
    policy
}

/// A client of one server with its task, which ends with it.
pub(super) struct Connection {
    pub(super) client: Client,
    task: ConnectHandle,
}

impl Connection {
    fn start(builder: &Builder) -> Result<Self, BusError> {
        let client = builder.build().map_err(|error| BusError::Address(error.details().to_owned()))?;
        let task = client.connect();
        Ok(Self { client, task })
    }

    /// Sends what is under way and says good-bye.
    pub(super) async fn close(&self) {
        // An error means that there is no connection to close.
        let _ = self.client.quit().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The client alone would try to reach a server that is gone for ever.
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wait_is_short_and_there_is_always_a_next_one() {
        let mut policy = reconnecting();
        let waits: Vec<_> = (0..1_000).map(|_| policy.next_delay().unwrap()).collect();
        let first = u64::from(FIRST_WAIT);
        assert!((first..2 * first).contains(&waits[0]), "{}", waits[0]);
        assert!((4 * first..5 * first).contains(&waits[2]), "{}", waits[2]);
        assert!(waits[8..].iter().all(|wait| *wait == u64::from(LONGEST_WAIT)));
    }
}
