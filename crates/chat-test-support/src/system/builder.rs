//! What a system consists of, and its start.

use std::fs;
use std::path::Path;
use std::process::Command;

use uuid::Uuid;

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
    message_servers: usize,
    websocket_servers: usize,
    demo: bool,
    settings: Vec<(String, String)>,
    message_settings: Vec<(String, String)>,
    websocket_settings: Vec<(String, String)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            storage: Storage::Sqlite,
            message_servers: 1,
            websocket_servers: 2,
            demo: false,
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
        let redis = RedisServer::start().await;
        let database = match self.storage {
            Storage::Postgres => Some(Database::create().await),
            Storage::Sqlite => None,
        };
        let database_url = database
            .as_ref()
            .map_or_else(|| format!("sqlite://{}", sqlite_file(folder.path()).display()), Database::url);
        let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let common = [
            ("CHAT_DATABASE_URL".to_owned(), database_url),
            ("CHAT_REDIS_URL".to_owned(), redis.url()),
            ("CHAT_AUTH_SECRET".to_owned(), secret.clone()),
        ];
        let settings: Vec<_> = common.into_iter().chain(self.settings).collect();

        // The demo page names the instances, so their addresses have to be known first.
        let of_websocket_servers = [settings.clone(), self.websocket_settings].concat();
        let mut websocket_servers =
            launch_all(Kind::WebSocket, self.websocket_servers, &of_websocket_servers, folder.path()).await;
        let mut of_message_servers = [settings, self.message_settings].concat();
        if self.demo {
            let urls: Vec<_> = websocket_servers.iter().map(Server::websocket_url).collect();
            of_message_servers.push(("CHAT_DEMO_ENABLED".to_owned(), "true".to_owned()));
            of_message_servers.push(("CHAT_DEMO_INSTANCES".to_owned(), urls.join(",")));
        }
        let mut message_servers =
            launch_all(Kind::Message, self.message_servers, &of_message_servers, folder.path()).await;
        for server in websocket_servers.iter_mut().chain(&mut message_servers) {
            server.until_ready().await;
        }
        System { message_servers, websocket_servers, redis, database, secret, folder }
    }
}

async fn launch_all(kind: Kind, count: usize, settings: &[(String, String)], folder: &Path) -> Vec<Server> {
    let mut servers: Vec<_> = (0..count)
        .map(|index| {
            let own = folder.join(format!("{}-{index}", kind.program()));
            fs::create_dir(&own).expect("a folder for the server can be made");
            Server::launch(kind, settings.to_vec(), own)
        })
        .collect();
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
