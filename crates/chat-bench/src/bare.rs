//! The reference of `sends`: rows of an event's size inserted into the same storage in batches, and nothing else.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Executor, QueryBuilder, Sqlite};

use crate::failure::{Failure, While};
use crate::world::World;

/// As many as there are senders: a commit cannot have more of them.
const BATCH: i64 = 256;
/// About the length of an event with a text of 200 bytes.
const PAYLOAD: usize = 800;
const TABLE: &str = "CREATE TABLE bare (seq BIGINT PRIMARY KEY, payload TEXT NOT NULL)";

/// Rows per second, one durable commit after the other.
pub(crate) async fn inserts_per_second(world: &World, duration: Duration) -> Result<f64, Failure> {
    let done = match &world.postgres {
        Some(postgres) => into_postgres(&postgres.url(), duration).await,
        None => into_sqlite(world, duration).await,
    };
    done.while_doing("the bare inserts")
}

async fn into_postgres(url: &str, duration: Duration) -> Result<f64, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute(TABLE).await?;
    let payloads = vec!["x".repeat(PAYLOAD); usize::try_from(BATCH).unwrap_or_default()];
    let (began, mut rows) = (Instant::now(), 0);
    while began.elapsed() < duration {
        let seqs: Vec<i64> = (rows..rows + BATCH).collect();
        let insert = sqlx::query("INSERT INTO bare SELECT * FROM UNNEST($1::bigint[], $2::text[])");
        insert.bind(seqs).bind(&payloads).execute(&mut connection).await?;
        rows += BATCH;
    }
    Ok(rows as f64 / began.elapsed().as_secs_f64())
}

async fn into_sqlite(world: &World, duration: Duration) -> Result<f64, sqlx::Error> {
    let mut connection = SqliteConnectOptions::new()
        .filename(world.system.sqlite_file().with_file_name("bare.db"))
        .create_if_missing(true)
        // As the servers open it.
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    connection.execute(TABLE).await?;
    let payload = "x".repeat(PAYLOAD);
    let (began, mut rows) = (Instant::now(), 0);
    while began.elapsed() < duration {
        insert_batch(&mut connection, rows, &payload).await?;
        rows += BATCH;
    }
    Ok(rows as f64 / began.elapsed().as_secs_f64())
}

/// One statement is one transaction.
async fn insert_batch(connection: &mut SqliteConnection, first: i64, payload: &str) -> Result<(), sqlx::Error> {
    let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO bare ");
    insert.push_values(first..first + BATCH, |mut row, seq| {
        row.push_bind(seq).push_bind(payload);
    });
    insert.build().execute(connection).await.map(|_| ())
}
