//! Which failure is "not now" ([`StorageError::Unavailable`]: the caller may try again) and which is "not so"
//! ([`StorageError::Failed`]: a defect here, in the schema or in the data). Inside the adapters everything is a
//! `sqlx::Error`; a row that makes no sense is its `Decode`.

use chat_domain::ports::StorageError;
use sqlx::{error::DatabaseError, migrate::MigrateError, postgres::PgDatabaseError, sqlite::SqliteError};

/// What a failed operation is to the caller.
pub(crate) fn storage_error(operation: &'static str, error: sqlx::Error) -> StorageError {
    if is_unavailable(&error) {
        return StorageError::Unavailable { operation, source: error.into() };
    }
    StorageError::Failed { operation, source: error.into() }
}

/// A stored value that makes no sense.
pub(crate) fn corrupt(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(source.into())
}

/// Was the transaction the victim of another one, so that the same again may succeed at once?
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    // The same sender and clientMessageId were committed through another channel after they were looked up.
    if error.constraint() == Some("messages_client_message_id") {
        return true;
    }
    postgres_code(error).is_some_and(|code| matches!(code.as_str(), "40001" | "40P01")) || is_busy_database(error)
}

/// Does another process hold SQLite's lock?
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(is_busy_database)
}

/// Is it another process's lock that a migration stumbled over?
pub(crate) fn is_busy_migration(error: &MigrateError) -> bool {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => is_busy(error),
        _ => false,
    }
}

fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(error) => is_unavailable_database(&**error),
        _ => false,
    }
}

fn is_unavailable_database(error: &dyn DatabaseError) -> bool {
    const SQLITE_FULL: i32 = 13;
    if let Some(code) = postgres_code(error) {
        // Connection lost, conflict, resources used up, statement or server cancelled, lock not granted, failed over.
        let classes = ["08", "40", "53", "57"];
        return classes.iter().any(|class| code.starts_with(class)) || matches!(code.as_str(), "55P03" | "25006");
    }
    is_busy_database(error) || sqlite_code(error) == Some(SQLITE_FULL)
}

fn is_busy_database(error: &dyn DatabaseError) -> bool {
    const SQLITE_BUSY: i32 = 5;
    const SQLITE_LOCKED: i32 = 6;
    matches!(sqlite_code(error), Some(SQLITE_BUSY | SQLITE_LOCKED))
}

fn postgres_code(error: &dyn DatabaseError) -> Option<String> {
    error.try_downcast_ref::<PgDatabaseError>().map(|error| error.code().to_owned())
}

/// The primary result code; the extended one has more in its upper bits.
fn sqlite_code(error: &dyn DatabaseError) -> Option<i32> {
    let code: i32 = error.try_downcast_ref::<SqliteError>()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
