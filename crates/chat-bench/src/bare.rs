//! The reference of `sends`: what sends leave behind, written into the same tables in batches, and nothing else.
//!
//! That is the number in the channel, the row of the message and that of its event. No request, no rule, no answer, nobody
//! who is told, and nothing read: it is what the log costs by itself.

use std::time::{Duration, Instant};

use chat_domain::{ChannelId, EventId, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::types::Uuid;
use sqlx::{ConnectOptions, Connection, Executor, QueryBuilder, Sqlite};

use crate::failure::{Failure, While};
use crate::world::{TEXT_BYTES, World};

/// As many as there are senders: a commit cannot have more of them.
const BATCH: usize = 256;
/// About the length of an event with such a text.
const BODY: usize = 600;
/// When all of it is said to have happened.
const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Writes to channels of its own.
pub(crate) struct Bare {
    connection: Connected,
    channels: Vec<Uuid>,
    /// A number that none of them has used.
    next: i64,
    texts: Texts,
}

enum Connected {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// What is the same in all rows.
struct Texts {
    content: String,
    payload: String,
    body: String,
}

/// A message and its event.
struct Row {
    id: Uuid,
    channel_id: Uuid,
    seq: i64,
}

impl Bare {
    pub(crate) async fn open(world: &World, channels: &[ChannelId]) -> Result<Self, Failure> {
        let connection = match &world.postgres {
            Some(postgres) => PgConnection::connect(&postgres.url()).await.map(Connected::Postgres),
            None => connect_to_sqlite(world).await.map(Connected::Sqlite),
        };
        let content = "x".repeat(TEXT_BYTES);
        let texts = Texts { payload: format!(r#"{{"text":"{content}"}}"#), content, body: "x".repeat(BODY) };
        let channels = channels.iter().map(|channel| channel.as_uuid()).collect();
        // What made the channels may have used the first numbers.
        Ok(Self { connection: connection.while_doing("the bare inserts")?, channels, next: 100, texts })
    }

    /// Messages per second, one durable commit after the other.
    pub(crate) async fn per_second(&mut self, duration: Duration) -> Result<f64, Failure> {
        let (began, mut written) = (Instant::now(), 0);
        while began.elapsed() < duration {
            let rows = self.batch();
            let done = match &mut self.connection {
                Connected::Postgres(connection) => into_postgres(connection, &rows, &self.texts).await,
                Connected::Sqlite(connection) => into_sqlite(connection, &self.channels, &rows, &self.texts).await,
            };
            done.while_doing("the bare inserts")?;
            written += rows.len();
        }
        Ok(written as f64 / began.elapsed().as_secs_f64())
    }

    /// What one side has left to copy is not measured with the other.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        let Connected::Sqlite(connection) = &mut self.connection else { return Ok(()) };
        let copied = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
        copied.map(drop).while_doing("emptying SQLite's log")
    }

    /// The channels by turns.
    fn batch(&mut self) -> Vec<Row> {
        let places = (self.next..).flat_map(|seq| self.channels.iter().map(move |channel| (*channel, seq)));
        let rows: Vec<_> = places
            .take(BATCH)
            .map(|(channel_id, seq)| Row { id: EventId::new(AT).as_uuid(), channel_id, seq })
            .collect();
        self.next = rows.last().map_or(self.next, |row| row.seq + 1);
        rows
    }
}

async fn into_postgres(connection: &mut PgConnection, rows: &[Row], texts: &Texts) -> Result<(), sqlx::Error> {
    const SQL: &str = "WITH new AS MATERIALIZED ( \
             SELECT unnest($1::uuid[]) AS id, unnest($2::uuid[]) AS channel_id, unnest($3::bigint[]) AS seq), \
         channel AS (UPDATE channels SET last_seq = $4, updated_at = $5 WHERE id = ANY($2)), \
         message AS (INSERT INTO messages (id, channel_id, seq, sender_id, type, status, content, payload, created_at) \
             SELECT id, channel_id, seq, channel_id, 'TEXT', 'SENT', $6, $7, $5 FROM new) \
         INSERT INTO channel_events (channel_id, seq, event_id, type, body, created_at) \
             SELECT channel_id, seq, id, 'CHAT_MESSAGE', $8, $5 FROM new";
    sqlx::query(SQL)
        .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.channel_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
        .bind(rows.last().map(|row| row.seq))
        .bind(AT.as_millis())
        .bind(&texts.content)
        .bind(&texts.payload)
        .bind(&texts.body)
        .execute(connection)
        .await?;
    Ok(())
}

/// As the servers open it.
async fn connect_to_sqlite(world: &World) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(world.system.sqlite_file())
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "16000")
        .connect()
        .await
}

async fn into_sqlite(
    connection: &mut SqliteConnection,
    channels: &[Uuid],
    rows: &[Row],
    texts: &Texts,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut messages = QueryBuilder::<Sqlite>::new(
        "INSERT INTO messages (id, channel_id, seq, sender_id, type, status, content, payload, created_at) ",
    );
    messages.push_values(rows, |mut new, row| {
        new.push_bind(row.id).push_bind(row.channel_id).push_bind(row.seq).push_bind(row.channel_id);
        new.push("'TEXT', 'SENT'").push_bind(&texts.content).push_bind(&texts.payload).push_bind(AT.as_millis());
    });
    messages.build().execute(&mut *transaction).await?;
    let mut events =
        QueryBuilder::<Sqlite>::new("INSERT INTO channel_events (channel_id, seq, event_id, type, body, created_at) ");
    events.push_values(rows, |mut new, row| {
        new.push_bind(row.channel_id).push_bind(row.seq).push_bind(row.id);
        new.push("'CHAT_MESSAGE'").push_bind(&texts.body).push_bind(AT.as_millis());
    });
    events.build().execute(&mut *transaction).await?;
    let mut numbers = QueryBuilder::<Sqlite>::new("UPDATE channels SET last_seq = ");
    numbers.push_bind(rows.last().map(|row| row.seq)).push(", updated_at = ").push_bind(AT.as_millis());
    let mut ids = numbers.push(" WHERE id IN (").separated(", ");
    channels.iter().for_each(|channel| {
        ids.push_bind(channel);
    });
    numbers.push(")").build().execute(&mut *transaction).await?;
    transaction.commit().await
}
