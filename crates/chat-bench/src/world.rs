//! The running system that is measured.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use chat_domain::ChannelId;
use chat_test_support::postgres::PostgresServer;
use chat_test_support::redis::RedisServer;
use chat_test_support::system::{System, TestUser};
use chat_test_support::tokens;
use futures_util::future::try_join_all;

use crate::cores::Cores;
use crate::counter::Counter;
use crate::failure::{Failure, While};
use crate::http::{Sender, Target};
use crate::peers::{Kind, Programs};
use crate::scale::Scale;

/// Of the messages of all scenarios.
pub(crate) const TEXT_BYTES: usize = 200;
/// Connections over which channels are made.
const CREATORS: usize = 64;

/// What a whole run has in common.
pub(crate) struct Bench {
    pub(crate) cores: Cores,
    pub(crate) scale: Scale,
    /// What is measured beside it.
    pub(crate) peers: Vec<Kind>,
    pub(crate) programs: Programs,
    /// Where plots are written.
    pub(crate) folder: PathBuf,
    /// Of what was started, by name.
    pub(crate) versions: BTreeMap<String, String>,
}

/// Where the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Sqlite,
    Postgres,
}

/// How a system is made up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) storage: Storage,
    /// The one core of the instances, if they are what is measured.
    pub(crate) core: Option<usize>,
    pub(crate) instances: usize,
    /// Whether what the instances hear from Redis is counted.
    pub(crate) counted: bool,
}

/// One message server, instances, Redis and storage: each a process, of the same build as this one.
pub(crate) struct World {
    // Dropped in this order: what uses others first.
    pub(crate) system: System,
    pub(crate) user: TestUser,
    pub(crate) counter: Option<Counter>,
    _redis: RedisServer,
    pub(crate) postgres: Option<PostgresServer>,
}

impl Setup {
    /// One instance, which shares the cores with all else.
    pub(crate) const fn on(storage: Storage) -> Self {
        Self { storage, core: None, instances: 1, counted: false }
    }

    /// One instance on a core of its own, on SQLite.
    pub(crate) const fn measured(core: usize) -> Self {
        Self { core: Some(core), ..Self::on(Storage::Sqlite) }
    }
}

impl Storage {
    pub(crate) const BOTH: [Self; 2] = [Self::Postgres, Self::Sqlite];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

impl World {
    pub(crate) async fn start(bench: &mut Bench, setup: Setup) -> Result<Self, Failure> {
        let redis = RedisServer::start().await;
        let mut builder = System::builder()
            .redis_at(redis.url())
            .websocket_servers(setup.instances)
            // All requests come from one user, and all connections from few addresses.
            .message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0")
            .websocket_setting("CHAT_LIMITS_CONNECTIONS_PER_ADDRESS", "100000");
        if let Some(core) = setup.core {
            builder = builder.websocket_core(core);
        }
        let counter = match setup.counted {
            true => Some(Counter::start(([127, 0, 0, 1], redis.port()).into()).await?),
            false => None,
        };
        if let Some(counter) = &counter {
            builder = builder.websocket_setting("CHAT_REDIS_URL", format!("redis://{}", counter.address));
        }
        // Every commit is forced to disk, as in production.
        let postgres = match setup.storage {
            Storage::Sqlite => None,
            Storage::Postgres => Some(PostgresServer::start_durable().await),
        };
        if let Some(postgres) = &postgres {
            builder = builder.database_at(postgres.url());
            bench.versions.insert("PostgreSQL".to_owned(), postgres.version().await);
        }
        let info = redis.execute(&["INFO", "server"]).await;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        let version = version.ok_or_else(|| Failure::new("Redis does not tell its version"))?;
        bench.versions.insert("Redis".to_owned(), version.trim().to_owned());
        let system = builder.start().await;
        let user = system.user("bench").await;
        Ok(Self { system, user, counter, _redis: redis, postgres })
    }

    pub(crate) fn message_server(&mut self) -> Result<SocketAddr, Failure> {
        self.system.message_server(0).address().parse().while_doing("the address of the message server")
    }

    pub(crate) fn instance(&mut self, index: usize) -> Result<SocketAddr, Failure> {
        self.system.websocket_server(index).address().parse().while_doing("the address of the instance")
    }

    /// Process id of the first instance.
    pub(crate) fn instance_id(&mut self) -> u32 {
        self.system.websocket_server(0).process_id()
    }

    /// A token of one of many users.
    pub(crate) fn token(&self, number: usize) -> String {
        tokens::issue(self.system.secret(), &format!("bench-{number}"), &[])
    }

    /// Makes so many public channels, over many connections.
    pub(crate) async fn create_rooms(&mut self, count: usize) -> Result<Vec<ChannelId>, Failure> {
        let creators = Sender::several(CREATORS.min(count), self.message_server()?).await?;
        let target = Target::channels(&self.user.token);
        let shares = creators.into_iter().enumerate().map(async |(first, mut creator)| {
            let mut rooms = Vec::new();
            for number in (first..count).step_by(CREATORS) {
                let answer = creator.post(&target, format!(r#"{{"type":"PUBLIC","name":"room {number}"}}"#)).await?;
                let answer: serde_json::Value = serde_json::from_slice(&answer).while_doing("a new channel")?;
                rooms.push(answer["channelId"].as_str().unwrap_or_default().parse().while_doing("a new channel")?);
            }
            Ok::<_, Failure>(rooms)
        });
        Ok(try_join_all(shares).await?.concat())
    }
}
