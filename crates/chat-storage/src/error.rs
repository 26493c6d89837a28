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

/// What a failed operation is to who watches the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No connection became free in time.
    NoConnection,
    /// No answer in time.
    Timeout,
    /// It passes by itself, or when somebody puts the store right.
    Unavailable,
    /// A defect here, in the schema or in the data.
    Failed,
}

impl FailureKind {
    pub(crate) const ALL: [Self; 4] = [Self::NoConnection, Self::Timeout, Self::Unavailable, Self::Failed];

    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::NoConnection,
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => Self::Timeout,
            other if is_unavailable(other) => Self::Unavailable,
            _ => Self::Failed,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NoConnection => "no_connection",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
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
    match postgres_code(error) {
        Some(code) => is_unavailable_postgres(&code),
        None => is_busy_database(error) || sqlite_code(error).is_some_and(is_unavailable_sqlite),
    }
}

/// Does it pass when somebody puts the server right, with nothing changed here?
fn is_unavailable_postgres(code: &str) -> bool {
    // Connection lost, not let in, conflict, resources used up, statement or server cancelled, the server's own I/O.
    let classes = ["08", "28", "40", "53", "57", "58"];
    // Lock not granted, failed over, too long idle in a transaction, database not there.
    let codes = ["55P03", "25006", "25P03", "3D000"];
    classes.iter().any(|class| code.starts_with(class)) || codes.contains(&code)
}

/// Does it pass when somebody puts the disk or the file right, with nothing changed here?
fn is_unavailable_sqlite(code: i32) -> bool {
    const READONLY: i32 = 8;
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    matches!(code, READONLY | IOERR | FULL | CANTOPEN)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let kinds = [
            (sqlx::Error::PoolTimedOut, FailureKind::NoConnection),
            (crate::bounded::timed_out(), FailureKind::Timeout),
            (sqlx::Error::WorkerCrashed, FailureKind::Unavailable),
            (sqlx::Error::RowNotFound, FailureKind::Failed),
        ];
        for (error, kind) in kinds {
            assert_eq!(FailureKind::of(&error), kind, "{error}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_not_a_defect() {
        for code in ["08006", "28P01", "3D000", "40001", "53300", "55P03", "25P03", "57014", "57P01", "58030"] {
            assert!(is_unavailable_postgres(code), "{code}");
        }
        for code in ["22021", "23505", "25P02", "42P01", "XX001"] {
            assert!(!is_unavailable_postgres(code), "{code}");
        }
        assert!([8, 10, 13, 14].into_iter().all(is_unavailable_sqlite));
        assert!(![1, 11, 19, 26].into_iter().any(is_unavailable_sqlite));
    }
}
