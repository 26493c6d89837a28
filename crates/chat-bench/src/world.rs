//! The running system that is measured.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chat_test_support::postgres::PostgresServer;
use chat_test_support::system::{System, TestUser};
use chat_test_support::tokens;

use crate::cores::Cores;
use crate::failure::{Failure, While};
use crate::peers::{Kind, Programs};
use crate::scale::Scale;

/// Of the messages of all scenarios.
pub(crate) const TEXT_BYTES: usize = 200;

/// What a whole run has in common.
pub(crate) struct Bench {
    pub(crate) cores: Cores,
    pub(crate) scale: Scale,
    /// What is measured beside it.
    pub(crate) peers: Vec<Kind>,
    pub(crate) programs: Programs,
    /// Of what was started, by name.
    pub(crate) versions: BTreeMap<String, String>,
}

/// Where the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Sqlite,
    Postgres,
}

/// One message server, one instance, Redis and storage: each a process, of the same build as this one.
pub(crate) struct World {
    // Dropped first, because it uses what follows.
    pub(crate) system: System,
    pub(crate) user: TestUser,
    pub(crate) postgres: Option<PostgresServer>,
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
    /// With the instance alone on its core, if it is the one that is measured.
    pub(crate) async fn start(
        bench: &mut Bench,
        storage: Storage,
        instance_core: Option<usize>,
    ) -> Result<Self, Failure> {
        let mut builder = System::builder()
            .websocket_servers(1)
            // All the load comes from one address, and that over HTTP from one user.
            .message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0")
            .websocket_setting("CHAT_LIMITS_CONNECTIONS_PER_ADDRESS", "100000");
        if let Some(core) = instance_core {
            builder = builder.websocket_core(core);
        }
        // Every commit is forced to disk, as in production.
        let postgres = match storage {
            Storage::Sqlite => None,
            Storage::Postgres => Some(PostgresServer::start_durable().await),
        };
        if let Some(postgres) = &postgres {
            builder = builder.database_at(postgres.url());
            bench.versions.insert("PostgreSQL".to_owned(), postgres.version().await);
        }
        let mut system = builder.start().await;
        let info = system.redis().execute(&["INFO", "server"]).await;
        let redis = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        let redis = redis.ok_or_else(|| Failure::new("Redis does not tell its version"))?;
        bench.versions.insert("Redis".to_owned(), redis.trim().to_owned());
        bench.versions.insert("chat".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let user = system.user("bench").await;
        Ok(Self { system, user, postgres })
    }

    pub(crate) fn message_server(&mut self) -> Result<SocketAddr, Failure> {
        self.system.message_server(0).address().parse().while_doing("the address of the message server")
    }

    pub(crate) fn instance(&mut self) -> Result<SocketAddr, Failure> {
        self.system.websocket_server(0).address().parse().while_doing("the address of the instance")
    }

    /// Process id of the instance.
    pub(crate) fn instance_id(&mut self) -> u32 {
        self.system.websocket_server(0).process_id()
    }

    /// A token of one of many users.
    pub(crate) fn token(&self, number: usize) -> String {
        tokens::issue(self.system.secret(), &format!("bench-{number}"), &[])
    }
}
