//! The whole system as real processes: Redis, storage, message servers and WebSocket instances.
//!
//! ```no_run
//! # async fn example() {
//! use chat_test_support::system::{Storage, System};
//!
//! let mut system = System::builder().storage(Storage::Sqlite).websocket_servers(2).start().await;
//! let alice = system.user("alice").await;
//! let channel = alice.api.create_channel("PUBLIC", "general", &[]).await;
//! alice.api.send(channel, "hello").await;
//! system.websocket_server(1).kill();
//! system.websocket_server(1).restart().await;
//! # }
//! ```

mod builder;
mod links;
mod server;

use std::path::{Path, PathBuf};

use chat_domain::UserId;
use common_auth::Role;
use tempfile::TempDir;

pub use builder::{Builder, Storage};
pub use server::Server;

use crate::http_api::HttpApi;
use crate::postgres::Database;
use crate::redis::RedisServer;

/// A running system. Dropping it kills everything in it.
#[derive(Debug)]
pub struct System {
    // In the order of the fields they are dropped: servers first, what they use afterwards.
    message_servers: Vec<Server>,
    websocket_servers: Vec<Server>,
    redis: Option<RedisServer>,
    database: Option<Database>,
    secret: String,
    folder: TempDir,
}

/// Somebody with a token, known to the message server.
#[derive(Debug, Clone)]
pub struct TestUser {
    /// The `sub` of the token.
    pub id: UserId,
    /// A token that outlives the test.
    pub token: String,
    /// The HTTP API of message server 0, called as this user.
    pub api: HttpApi,
}

impl System {
    /// One message server and two WebSocket instances on SQLite, unless changed.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Message server number `index`, counted from 0.
    pub fn message_server(&mut self, index: usize) -> &mut Server {
        &mut self.message_servers[index]
    }

    /// WebSocket instance number `index`, counted from 0.
    pub fn websocket_server(&mut self, index: usize) -> &mut Server {
        &mut self.websocket_servers[index]
    }

    /// How many message servers there are, whether they run or not.
    #[must_use]
    pub fn message_servers(&self) -> usize {
        self.message_servers.len()
    }

    /// How many WebSocket instances there are, whether they run or not.
    #[must_use]
    pub fn websocket_servers(&self) -> usize {
        self.websocket_servers.len()
    }

    /// The Redis that all of them use: kill, restart, pause and resume it at will.
    ///
    /// # Panics
    /// When it was named with [`Builder::redis_at`]: then it is not this system's.
    pub fn redis(&mut self) -> &mut RedisServer {
        self.redis.as_mut().expect("the Redis of this system is an external one, named with redis_at")
    }

    /// `http://127.0.0.1:{port}` of message server `index`, through its link if there is one; it stays the same over
    /// restarts.
    #[must_use]
    pub fn http_url(&self, index: usize) -> String {
        format!("http://{}", self.message_servers[index].address_for_users())
    }

    /// `ws://127.0.0.1:{port}/ws/chat` of instance `index`, through its link if there is one; it stays the same over
    /// restarts.
    #[must_use]
    pub fn websocket_url(&self, index: usize) -> String {
        self.websocket_servers[index].websocket_url()
    }

    /// The database, when the storage is PostgreSQL and not an external one.
    #[must_use]
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// The SQLite file, which exists only when the storage is SQLite.
    #[must_use]
    pub fn sqlite_file(&self) -> PathBuf {
        sqlite_file(self.folder.path())
    }

    /// The secret that tokens are signed with.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// A development user of this name, made known to message server 0.
    ///
    /// # Panics
    /// When the message server does not answer.
    pub async fn user(&self, name: &str) -> TestUser {
        self.user_with_roles(name, &[Role::User]).await
    }

    /// A development user with these roles, made known to message server 0.
    ///
    /// # Panics
    /// When the message server does not answer.
    pub async fn user_with_roles(&self, name: &str, roles: &[Role]) -> TestUser {
        let token = crate::tokens::issue(&self.secret, name, roles);
        let api = HttpApi::new(self.http_url(0), token.clone());
        let id = api.my_id().await;
        TestUser { id, token, api }
    }
}

impl TestUser {
    /// The HTTP API of another message server, called as this user.
    #[must_use]
    pub fn api_at(&self, http_url: String) -> HttpApi {
        HttpApi::new(http_url, self.token.clone())
    }
}

fn sqlite_file(folder: &Path) -> PathBuf {
    folder.join("chat.db")
}
