//! Copies pages from the log into the file, beside the connection that writes: on that one, each send that waits would wait
//! for the copies too, and for the disk.

use std::time::Duration;

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{sync::watch, time::timeout};

/// From a commit to the copies: pages of busy channels are copied once for many commits.
const DELAY: Duration = Duration::from_millis(250);

/// Each pass copies what was committed during the last one. After one during which nothing was, the file has all, and the log
/// begins anew with the next commit. Where there is no such moment it grows, up to the bound at which the connection that
/// writes copies the rest itself.
const PASSES: usize = 5;

/// Copies after commits, until there can be none any more.
pub(super) async fn run(options: SqliteConnectOptions, mut commits: watch::Receiver<()>) {
    // Nobody waits for a slow one.
    let options = options.disable_statement_logging();
    let (mut connection, mut failing) = (None, false);
    while commits.changed().await.is_ok() {
        let closed = async { while commits.changed().await.is_ok() {} };
        if timeout(DELAY, closed).await.is_ok() {
            break;
        }
        match copy(&options, connection.take()).await {
            Ok(copied) => connection = Some(copied),
            // Logged when it begins, not each time: whoever commits does it then, at the bound.
            Err(error) if !failing => tracing::warn!(error.message = %error, "the pages of the log were not copied"),
            Err(_) => {}
        }
        failing = connection.is_none();
    }
    if let Some(connection) = connection
        && let Err(error) = connection.close().await
    {
        tracing::debug!(error.message = %error, "a connection did not close well");
    }
}

async fn copy(
    options: &SqliteConnectOptions,
    connection: Option<SqliteConnection>,
) -> Result<SqliteConnection, sqlx::Error> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => options.connect().await?,
    };
    let mut before = None;
    for _ in 0..PASSES {
        // Waits for nobody; another process may be at it.
        let pass = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut connection).await?;
        // The pages of the log when the pass began, and of them those that the file has. Who reads holds some back.
        let (busy, pages, copied): (bool, i64, i64) = pass;
        if busy || copied < pages || before == Some(pages) {
            break;
        }
        before = Some(pages);
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use chat_domain::{
        Timestamp, UserId,
        ports::{Storage, UserRepository},
    };
    use chat_test_support::wait_until;
    use prometheus_client::registry::Registry;

    use super::{super::SqliteStorage, *};
    use crate::DatabaseConfig;

    #[tokio::test]
    async fn what_is_committed_gets_into_the_file_soon() {
        let directory = tempfile::tempdir().unwrap();
        let (file, copy) = (directory.path().join("chat.db"), directory.path().join("copy.db"));
        let url = format!("sqlite://{}", file.display());
        let config = DatabaseConfig { url: url.into(), ..DatabaseConfig::default() };
        let storage = SqliteStorage::open(&config, &mut Registry::default()).await.unwrap();
        let at = Timestamp::from_millis(0);

        for number in 1..=3 {
            storage.ensure_user(UserId::new(at), "alice", at).await.unwrap();
            // The file alone, without its log. One that is just being written to may make no sense.
            wait_until("the file has the user", Duration::from_secs(10), async || {
                std::fs::copy(&file, &copy).unwrap();
                users(&copy).await.is_ok_and(|users| users == number)
            })
            .await;
        }
        storage.close().await;
        let closed = storage.ensure_user(UserId::new(at), "bob", at).await;
        assert!(closed.is_err(), "{closed:?}");
    }

    /// Older ones lose pages when one connection copies twice while another begins the log anew.
    #[tokio::test]
    async fn the_library_can_do_it() {
        let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await.unwrap();
        let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await.unwrap();
        let version: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
        assert!(version >= vec![3, 51, 3], "{version:?}");
    }

    async fn users(file: &std::path::Path) -> Result<i64, sqlx::Error> {
        let mut connection =
            SqliteConnectOptions::new().filename(file).read_only(true).immutable(true).connect().await?;
        sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&mut connection).await
    }
}
