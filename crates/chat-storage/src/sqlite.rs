//! The ports over one SQLite file, which several processes of a host may share.

mod append;
mod channels;
mod checkpoint;
mod json;
mod many;
mod messages;
mod single;
mod users;
mod writer;

use std::{iter, str::FromStr};

use async_trait::async_trait;
use chat_domain::{
    ChannelId, Command, Message, MessageId, Refusal, Timestamp, User, UserId, UserStatus,
    ports::{
        Access, Appended, ChannelCursor, ChannelLog, ChannelRepository, ChannelScope, ChannelSummary, ChannelView,
        CommandError, Created, Head, HistoryAnchor, HistoryPage, LoggedEvent, MemberView, MessageRepository,
        NewChannel, Standing, Storage, StorageError, UserRepository,
    },
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use self::writer::Writer;
use crate::{
    bounded::{Bounds, with_retries},
    config::{DatabaseConfig, OpenError, masked},
    metrics::{Metrics, PoolState, Pools},
};

/// A database file: one connection that writes, some that read beside it, and one that copies the log into the file.
#[derive(Debug)]
pub(crate) struct SqliteStorage {
    writer: Writer,
    readers: SqlitePool,
    /// Copies the log's pages.
    checkpoints: Mutex<JoinSet<()>>,
    bounds: Bounds,
}

impl SqliteStorage {
    /// Makes the file if there is none, and migrates.
    pub(crate) async fn open(config: &DatabaseConfig, registry: &mut Registry) -> Result<Self, OpenError> {
        let options = options(config)?;
        let directory = options.get_filename().parent().filter(|directory| !directory.as_os_str().is_empty());
        if let Some(missing) = directory.filter(|directory| !directory.is_dir()) {
            return Err(OpenError::NoDirectory(missing.to_owned()));
        }
        let (writer, commits) = Writer::open(&options, config).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.acquire_timeout)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone().busy_timeout(config.acquire_timeout));
        let checkpoints = iter::once(checkpoint::run(options, commits)).collect();
        let (writing, reading) = (writer.state(), readers.clone());
        let pools = move || vec![writing(), PoolState::of("readers", &reading)];
        registry.register_collector(Box::new(Pools(pools)));
        let bounds = Bounds { limit: config.call_timeout(), metrics: Metrics::register(registry) };
        Ok(Self { writer, readers, checkpoints: Mutex::new(checkpoints), bounds })
    }
}

fn options(config: &DatabaseConfig) -> Result<SqliteConnectOptions, OpenError> {
    let url = config.url.expose_secret();
    let path = url.strip_prefix("sqlite://").map(|rest| rest.split('?').next().unwrap_or_default());
    if path.is_none_or(|path| path.is_empty() || path == ":memory:") || url.contains("mode=memory") {
        // Each connection would have a memory of its own.
        return Err(OpenError::Config("database.url must name a file: sqlite://chat.db or sqlite:///path/to/chat.db"));
    }
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|source| OpenError::Unreachable { store: masked(&config.url), source })?;
    // FULL: an acknowledged message is on the disk, not on its way to it. When the log has 64 MB, whoever commits copies what
    // is left of it into the file.
    Ok(options
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "16000"))
}

#[async_trait]
impl Storage for SqliteStorage {
    async fn ping(&self) -> Result<(), StorageError> {
        let ping = async {
            sqlx::query("SELECT 1 FROM users LIMIT 1").fetch_optional(&self.readers).await?;
            self.writer.ping().await
        };
        self.bounds.run("ping", ping).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        let mut checkpoints = std::mem::take(&mut *self.checkpoints.lock());
        while let Some(ended) = checkpoints.join_next().await {
            if let Err(error) = ended {
                tracing::error!(error.message = %error, "the log's pages were not copied to the end");
            }
        }
    }
}

#[async_trait]
impl ChannelLog for SqliteStorage {
    async fn append(&self, commands: &[Command]) -> Result<Vec<Result<Appended, Refusal>>, StorageError> {
        let append = with_retries(|| append::append(&self.writer, commands));
        self.bounds.run("append", append).await
    }

    async fn heads(&self, channels: &[ChannelId]) -> Result<Vec<Head>, StorageError> {
        self.bounds.run("heads", channels::heads(&self.readers, channels)).await
    }

    async fn replay(&self, channel: ChannelId, after_seq: u64, limit: u32) -> Result<Vec<LoggedEvent>, StorageError> {
        self.bounds.run("replay", messages::replay(&self.readers, channel, after_seq, limit)).await
    }

    async fn access(&self, wishes: &[(UserId, ChannelId)]) -> Result<Vec<(UserId, Access)>, StorageError> {
        self.bounds.run("access", channels::access(&self.readers, wishes)).await
    }

    async fn renew_epochs(&self) -> Result<u64, StorageError> {
        let (mut renewed, mut last) = (0, Uuid::nil());
        loop {
            let batch = with_retries(|| channels::renew_epochs(&self.writer, last));
            let ids = self.bounds.run("renew_epochs", batch).await?;
            let Some(greatest) = ids.iter().max() else { return Ok(renewed) };
            (renewed, last) = (renewed + ids.len() as u64, *greatest);
        }
    }
}

#[async_trait]
impl MessageRepository for SqliteStorage {
    async fn message(&self, id: MessageId) -> Result<Option<Message>, StorageError> {
        self.bounds.run("message", messages::message(&self.readers, id)).await
    }

    async fn history(&self, channel: ChannelId, from: HistoryAnchor, limit: u32) -> Result<HistoryPage, StorageError> {
        self.bounds.run("history", messages::history(&self.readers, channel, from, limit)).await
    }
}

#[async_trait]
impl ChannelRepository for SqliteStorage {
    async fn create(&self, channel: NewChannel) -> Result<Created, CommandError> {
        let create = with_retries(|| channels::create(&self.writer, channel.clone()));
        Ok(self.bounds.run("create", create).await??)
    }

    async fn channel(&self, id: ChannelId, user: UserId) -> Result<Option<ChannelView>, StorageError> {
        self.bounds.run("channel", channels::channel(&self.readers, id, user)).await
    }

    async fn channels(
        &self,
        user: UserId,
        scope: ChannelScope,
        after: Option<ChannelCursor>,
        limit: u32,
    ) -> Result<Vec<ChannelSummary>, StorageError> {
        self.bounds.run("channels", channels::channels(&self.readers, user, scope, after, limit)).await
    }

    async fn members(
        &self,
        channel: ChannelId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<MemberView>, StorageError> {
        self.bounds.run("members", channels::members(&self.readers, channel, after, limit)).await
    }
}

#[async_trait]
impl UserRepository for SqliteStorage {
    async fn ensure_user(&self, id: UserId, username: &str, at: Timestamp) -> Result<User, StorageError> {
        self.bounds.run("ensure_user", users::ensure(&self.readers, &self.writer, id, username, at)).await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StorageError> {
        self.bounds.run("user", users::user(&self.readers, id)).await
    }

    async fn restricted(&self, users: &[UserId]) -> Result<Vec<Standing>, StorageError> {
        self.bounds.run("restricted", users::restricted(&self.readers, users)).await
    }

    async fn update_profile(
        &self,
        id: UserId,
        username: Option<&str>,
        email: Option<&str>,
        at: Timestamp,
    ) -> Result<Option<User>, StorageError> {
        self.bounds.run("update_profile", users::update_profile(&self.writer, id, username, email, at)).await
    }

    async fn change_status(&self, id: UserId, to: UserStatus, at: Timestamp) -> Result<User, CommandError> {
        let change = with_retries(|| users::change_status(&self.writer, id, to, at));
        Ok(self.bounds.run("change_status", change).await??)
    }

    async fn revoke_tokens(&self, id: UserId, before: Timestamp) -> Result<Timestamp, CommandError> {
        let revoke = with_retries(|| users::revoke_tokens(&self.writer, id, before));
        Ok(self.bounds.run("revoke_tokens", revoke).await??)
    }
}
