//! What a system consists of, and its start.

use std::fs;
use std::path::Path;
use std::process::Command;

use uuid::Uuid;

use super::links::Links;
use super::server::{Kind, Server};
use super::{System, sqlite_file};
use crate::environment::is_configuration;
use crate::postgres::Database;
use crate::redis::RedisServer;

/// Where the log of the channels is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// One file in the system's temporary folder.
    Sqlite,
    /// A fresh database in the cluster of `cargo xtask test`.
    Postgres,
}

/// Chooses the parts of a [`System`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    storage: Storage,
    redis_url: Option<String>,
    database_url: Option<String>,
    message_servers: usize,
    websocket_servers: usize,
    demo: bool,
    links: bool,
    websocket_core: Option<usize>,
    settings: Vec<(String, String)>,
    message_settings: Vec<(String, String)>,
    websocket_settings: Vec<(String, String)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            storage: Storage::Sqlite,
            redis_url: None,
            database_url: None,
            message_servers: 1,
            websocket_servers: 2,
            demo: false,
            links: false,
            websocket_core: None,
            settings: Vec::new(),
            message_settings: Vec::new(),
            websocket_settings: Vec::new(),
        }
    }
}

impl Builder {
    /// Where the log is kept; SQLite unless changed.
    pub fn storage(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }

    /// Uses this Redis and starts none of its own.
    pub fn redis_at(self, url: impl Into<String>) -> Self {
        Self { redis_url: Some(url.into()), ..self }
    }

    /// Uses this database, whatever [`Builder::storage`] says, and makes none of its own.
    pub fn database_at(self, url: impl Into<String>) -> Self {
        Self { database_url: Some(url.into()), ..self }
    }

    /// How many message servers; one unless changed.
    pub fn message_servers(self, count: usize) -> Self {
        Self { message_servers: count, ..self }
    }

    /// How many WebSocket instances; two unless changed.
    pub fn websocket_servers(self, count: usize) -> Self {
        Self { websocket_servers: count, ..self }
    }

    /// Serves the demo page, with the addresses of all instances; off unless changed.
    pub fn demo(self) -> Self {
        Self { demo: true, ..self }
    }

    /// Puts a [`TcpProxy`](crate::proxy::TcpProxy) between each server and Redis (of a `redis://` URL), between each
    /// server and PostgreSQL, and between users and each server.
    pub fn links(self) -> Self {
        Self { links: true, ..self }
    }

    /// Lets the WebSocket instances use this core only, with `taskset` of util-linux: what they cost can be measured then.
    pub fn websocket_core(self, core: usize) -> Self {
        Self { websocket_core: Some(core), ..self }
    }

    /// One more setting of every server, as in its environment: `("CHAT_LOG_FILTER", "debug")`.
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// The same for the message servers alone: a server refuses settings that only the other knows.
    pub fn message_setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.message_settings.push((name.to_owned(), value.into()));
        self
    }

    /// The same for the WebSocket instances alone.
    pub fn websocket_setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.websocket_settings.push((name.to_owned(), value.into()));
        self
    }

    /// Starts everything and waits until each server is ready.
    ///
    /// # Panics
    /// When a part does not come up; the message has the end of its log.
    pub async fn start(self) -> System {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let redis = match self.redis_url {
            Some(_) => None,
            None => Some(RedisServer::start().await),
        };
        let redis_url = self.redis_url.or_else(|| redis.as_ref().map(RedisServer::url));
        let database = match self.storage {
            Storage::Postgres if self.database_url.is_none() => Some(Database::create().await),
            _ => None,
        };
        let database_url = self
            .database_url
            .or_else(|| database.as_ref().map(Database::url))
            .unwrap_or_else(|| format!("sqlite://{}", sqlite_file(folder.path()).display()));
        let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let neighbours = Neighbours { redis: redis_url.unwrap_or_default(), storage: database_url, links: self.links };
        let settings = [vec![("CHAT_AUTH_SECRET".to_owned(), secret.clone())], self.settings].concat();

        let core = self.websocket_core;
        // The demo page names the instances, so their addresses have to be known first.
        let of_websocket_servers = [settings.clone(), self.websocket_settings].concat();
        let mut websocket_servers = launch_all(
            Kind::WebSocket,
            self.websocket_servers,
            &of_websocket_servers,
            &neighbours,
            folder.path(),
            core,
        )
        .await;
        let mut of_message_servers = [settings, self.message_settings].concat();
        if self.demo {
            let urls: Vec<_> = websocket_servers.iter().map(Server::websocket_url).collect();
            of_message_servers.push(("CHAT_DEMO_ENABLED".to_owned(), "true".to_owned()));
            of_message_servers.push(("CHAT_DEMO_INSTANCES".to_owned(), urls.join(",")));
        }
        let mut message_servers =
            launch_all(Kind::Message, self.message_servers, &of_message_servers, &neighbours, folder.path(), None)
                .await;
        for server in websocket_servers.iter_mut().chain(&mut message_servers) {
            server.until_ready().await;
        }
        System { message_servers, websocket_servers, redis, database, secret, folder }
    }
}

/// What every server talks to.
struct Neighbours {
    redis: String,
    storage: String,
    links: bool,
}

async fn launch_all(
    kind: Kind,
    count: usize,
    settings: &[(String, String)],
    neighbours: &Neighbours,
    folder: &Path,
    core: Option<usize>,
) -> Vec<Server> {
    let mut servers = Vec::new();
    for index in 0..count {
        let own = folder.join(format!("{}-{index}", kind.program()));
        fs::create_dir(&own).expect("a folder for the server can be made");
        let (mut redis, mut storage) = (neighbours.redis.clone(), neighbours.storage.clone());
        let links = match neighbours.links {
            true => Links::put_before(&mut redis, &mut storage).await,
            false => Links::default(),
        };
        let urls = [("CHAT_REDIS_URL".to_owned(), redis), ("CHAT_DATABASE_URL".to_owned(), storage)];
        let settings = urls.into_iter().chain(settings.iter().cloned()).collect();
        servers.push(Server::launch(kind, settings, own, links, core));
    }
    for server in &mut servers {
        server.until_bound().await;
    }
    servers
}

/// A command that sees none of the settings meant for another process.
pub(super) fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_configuration(name)) {
        command.env_remove(name);
    }
    command
}
