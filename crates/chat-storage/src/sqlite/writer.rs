//! The one connection that writes, and its turn among the processes that share the file.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    migrate::{MigrateError, Migrator},
    query::Query,
    sqlite::{Sqlite, SqliteArguments, SqliteConnectOptions, SqliteRow},
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard, watch},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    config::{DatabaseConfig, OpenError, masked},
    error::{is_busy, is_busy_migration},
    metrics::PoolState,
};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Between two attempts to get the write lock. SQLite's own waiting sleeps up to 100 ms at a time, which starves a
/// process beside one that commits without a pause; this is shorter than most commits.
const TURN: Duration = Duration::from_millis(1);

/// How long SQLite itself waits for a lock before the next attempt.
const BUSY_TIMEOUT: Duration = Duration::from_millis(2);

pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Begins a text that is the beginning of a transaction.
macro_rules! begin {
    () => {
        "BEGIN IMMEDIATE; "
    };
}
pub(super) use begin;

/// Ends a text that commits. The row comes after the commit only: of a connection whose thread has died in between nothing
/// more comes, and that is no error to the library.
macro_rules! commit {
    () => {
        "COMMIT; SELECT 1"
    };
}
pub(super) use commit;

/// Begins transactions that write.
#[derive(Debug)]
pub(super) struct Writer {
    options: SqliteConnectOptions,
    /// Whoever holds it has the turn; others follow in the order in which they came. No pool: for each commit it would hand
    /// four more commands to the connection's thread, and each of them wakes that thread and waits for it.
    slot: Arc<Mutex<Slot>>,
    /// How long to wait for the turn.
    patience: Duration,
}

#[derive(Debug)]
struct Slot {
    /// `None` before the first transaction, during one, and after one that did not end.
    connection: Option<SqliteConnection>,
    /// Who hears of commits. `None` when it is closed.
    commits: Option<watch::Sender<()>>,
}

impl Writer {
    /// Makes the file if there is none, and migrates. The receiver hears of each commit until the writer is closed.
    pub(super) async fn open(
        options: &SqliteConnectOptions,
        config: &DatabaseConfig,
    ) -> Result<(Self, watch::Receiver<()>), OpenError> {
        let options = options.clone().busy_timeout(BUSY_TIMEOUT);
        let (patience, store) = (config.acquire_timeout, || masked(&config.url));
        let deadline = Instant::now() + patience;

        // To change the journal mode of a new file is a write too, and another process may be at it.
        let connected = patiently(deadline, is_busy, || options.connect()).await;
        let connection = connected.map_err(|source| OpenError::Unreachable { store: store(), source })?;
        connection.close().await.map_err(|source| OpenError::Unreachable { store: store(), source })?;
        patiently(deadline, is_busy_migration, || migrate(&options))
            .await
            .map_err(|source| OpenError::Migration { store: store(), source })?;
        let (commits, hears) = watch::channel(());
        let slot = Slot { connection: None, commits: Some(commits) };
        Ok((Self { options, slot: Arc::new(Mutex::new(slot)), patience }, hears))
    }

    /// Begins a transaction that holds the write lock from its start: what it reads stays true until it commits.
    pub(super) async fn begin(&self) -> Result<Turn, sqlx::Error> {
        self.begin_with(|| sqlx::query(begin!())).await.map(|(turn, _)| turn)
    }

    /// The same with a text that begins with [`begin!`] and reads, and what it has read: one way to the connection's thread
    /// and back instead of two.
    pub(super) async fn begin_with<'q>(
        &self,
        text: impl Fn() -> Statement<'q>,
    ) -> Result<(Turn, Vec<SqliteRow>), sqlx::Error> {
        let deadline = Instant::now() + self.patience;
        let waited = timeout_at(deadline, self.slot.clone().lock_owned()).await;
        let mut slot = waited.map_err(|_| sqlx::Error::PoolTimedOut)?;
        if slot.commits.is_none() {
            return Err(sqlx::Error::PoolClosed);
        }
        let mut connection = match slot.connection.take() {
            Some(connection) => connection,
            None => patiently(deadline, is_busy, || self.options.connect()).await?,
        };
        // As `patiently` does, whose attempts cannot borrow the connection.
        loop {
            match text().fetch_all(&mut connection).await {
                Ok(read) => return Ok((Turn { slot, connection }, read)),
                Err(error) if is_busy(&error) && Instant::now() < deadline => sleep(TURN).await,
                Err(error) => {
                    // One that has only waited is as good as before.
                    slot.connection = is_busy(&error).then_some(connection);
                    return Err(error);
                }
            }
        }
    }

    /// Can it write, as far as that shows without a write?
    pub(super) async fn ping(&self) -> Result<(), sqlx::Error> {
        self.begin().await?.rollback().await
    }

    /// Looks whether the connection is in use.
    pub(super) fn state(&self) -> impl Fn() -> PoolState + use<> {
        let slot = self.slot.clone();
        move || {
            let slot = slot.try_lock();
            let idle = slot.as_ref().is_ok_and(|slot| slot.connection.is_some());
            PoolState { pool: "writer", used: u32::from(slot.is_err()), idle: u32::from(idle), max: 1 }
        }
    }

    /// Ends the connection after the transactions that have begun or wait.
    pub(super) async fn close(&self) {
        let mut slot = self.slot.lock().await;
        slot.commits = None;
        if let Some(connection) = slot.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(error.message = %error, "a connection did not close well");
        }
    }
}

/// A transaction. One that is dropped before its end is undone, and its connection ends with it: on a full disk and other
/// I/O errors SQLite has undone it already, and whoever was given up in the middle of a statement does not know.
#[derive(Debug)]
pub(super) struct Turn {
    slot: OwnedMutexGuard<Slot>,
    connection: SqliteConnection,
}

impl Turn {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.commit_with(sqlx::query(commit!())).await
    }

    /// Runs a text whose end is [`commit!`].
    pub(super) async fn commit_with(mut self, text: Statement<'_>) -> Result<(), sqlx::Error> {
        let committed = text.fetch_optional(&mut self.connection).await?;
        committed.ok_or(sqlx::Error::WorkerCrashed)?;
        self.slot.connection = Some(self.connection);
        if let Some(commits) = &self.slot.commits {
            commits.send_replace(());
        }
        Ok(())
    }

    pub(super) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        sqlx::query("ROLLBACK").execute(&mut self.connection).await?;
        self.slot.connection = Some(self.connection);
        Ok(())
    }
}

impl Deref for Turn {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

/// Brings the schema up to date, all of it in one transaction under the write lock; sqlx takes no lock here by itself.
async fn migrate(options: &SqliteConnectOptions) -> Result<(), MigrateError> {
    let mut connection: SqliteConnection = options.connect().await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    MIGRATIONS.run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}

/// Tries until the lock is free, or it is too late.
async fn patiently<T, E, F: Future<Output = Result<T, E>>>(
    deadline: Instant,
    is_busy: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E> {
    loop {
        match attempt().await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => sleep(TURN).await,
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::ports::StorageError;
    use sqlx::Executor;
    use tempfile::TempDir;

    use super::*;
    use crate::error::storage_error;

    async fn writer(directory: &TempDir) -> Writer {
        let url = format!("sqlite://{}", directory.path().join("chat.db").display());
        let options = url.parse::<SqliteConnectOptions>().unwrap().create_if_missing(true);
        let config = DatabaseConfig { url: url.into(), ..DatabaseConfig::default() };
        Writer::open(&options, &config).await.unwrap().0
    }

    #[tokio::test]
    async fn after_a_full_disk_it_writes_again() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(&directory).await;
        // The limit is this connection's own, and no file can be smaller than it is.
        let mut transaction = writer.begin().await.unwrap();
        transaction.execute("PRAGMA max_page_count = 1").await.unwrap();
        transaction.rollback().await.unwrap();
        const TOO_MUCH: &str = "INSERT INTO users (id, username, status, created_at, updated_at, last_active_at) \
             VALUES (zeroblob(16), hex(zeroblob(1000000)), 'ACTIVE', 0, 0, 0)";

        let mut transaction = writer.begin().await.unwrap();
        let full = transaction.execute(TOO_MUCH).await.unwrap_err();
        drop(transaction);
        assert!(full.to_string().contains("full"), "{full}");
        assert!(matches!(storage_error("append", full), StorageError::Unavailable { .. }));

        writer.ping().await.unwrap();
        let mut transaction = writer.begin().await.unwrap();
        transaction.execute(TOO_MUCH).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// So ends the answer of a connection whose thread dies.
    #[tokio::test]
    async fn what_answers_nothing_has_not_committed() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(&directory).await;
        let unanswered = writer.begin().await.unwrap().commit_with(sqlx::query("SELECT 1 WHERE false")).await;
        assert!(matches!(unanswered, Err(sqlx::Error::WorkerCrashed)), "{unanswered:?}");
        writer.ping().await.unwrap();
    }
}
