//! The one connection that writes, and its turn among the processes that share the file.

use std::time::Duration;

use sqlx::{
    ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tokio::time::Instant;

use crate::{
    config::{DatabaseConfig, OpenError, masked},
    error::{is_busy, is_busy_migration},
};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Between two attempts to get the write lock. SQLite's own waiting sleeps up to 100 ms at a time, which starves a
/// process beside one that commits without a pause; this is shorter than most commits.
const TURN: Duration = Duration::from_millis(1);

/// How long SQLite itself waits for a lock before the next attempt.
const BUSY_TIMEOUT: Duration = Duration::from_millis(2);

/// Begins transactions that write.
#[derive(Debug)]
pub(super) struct Writer {
    pool: SqlitePool,
    /// How long to wait for the turn.
    patience: Duration,
}

impl Writer {
    /// Makes the file if there is none, and migrates.
    pub(super) async fn open(options: &SqliteConnectOptions, config: &DatabaseConfig) -> Result<Self, OpenError> {
        let options = options.clone().busy_timeout(BUSY_TIMEOUT);
        let patience = config.acquire_timeout;
        let store = || masked(&config.url);

        // To change the journal mode of a new file is a write too, and another process may be at it.
        let connected = patiently(patience, is_busy, || options.connect()).await;
        let connection = connected.map_err(|source| OpenError::Unreachable { store: store(), source })?;
        connection.close().await.map_err(|source| OpenError::Unreachable { store: store(), source })?;
        patiently(patience, is_busy_migration, || migrate(&options))
            .await
            .map_err(|source| OpenError::Migration { store: store(), source })?;

        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(patience)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            // On a full disk and other I/O errors SQLite ends the transaction by itself. The rollback that follows then has
            // nothing to roll back, and sqlx counts the transaction as open for ever: such a connection begins no other.
            .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
            .connect_lazy_with(options);
        Ok(Self { pool, patience })
    }

    /// Begins a transaction that holds the write lock from its start: what it reads stays true until it commits.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        patiently(self.patience, is_busy, || self.pool.begin_with("BEGIN IMMEDIATE")).await
    }

    /// Can it write, as far as that shows without a write?
    pub(super) async fn ping(&self) -> Result<(), sqlx::Error> {
        self.begin().await?.rollback().await
    }

    pub(super) const fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
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

/// Tries until the lock is free, or patience ends.
async fn patiently<T, E, F: Future<Output = Result<T, E>>>(
    patience: Duration,
    is_busy: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E> {
    let deadline = Instant::now() + patience;
    loop {
        match attempt().await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => tokio::time::sleep(TURN).await,
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::ports::StorageError;
    use sqlx::Executor;

    use super::*;
    use crate::error::storage_error;

    #[tokio::test]
    async fn after_a_full_disk_it_writes_again() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("chat.db").display());
        let options = url.parse::<SqliteConnectOptions>().unwrap().create_if_missing(true);
        let config = DatabaseConfig { url: url.into(), ..DatabaseConfig::default() };
        let writer = Writer::open(&options, &config).await.unwrap();
        // The limit is this connection's own, and no file can be smaller than it is.
        writer.pool.execute("PRAGMA max_page_count = 1").await.unwrap();
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
}
