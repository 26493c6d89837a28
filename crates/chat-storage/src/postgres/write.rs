//! All that a batch changes, in one statement.

use std::collections::HashMap;

use chat_domain::{Member, UserId, UserStatus};
use sqlx::{PgConnection, Postgres, Row, postgres::PgArguments, query::Query};
use uuid::Uuid;

use super::single::Single;
use crate::{
    batch::{Changes, storable},
    rows::{Places, column},
};

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Users that were not asked for just now, with what they are believed to be.
pub(super) type Senders = HashMap<UserId, UserStatus>;

/// Locks the channels, and looks whether they are as they were read, and senders as they are believed to be.
macro_rules! gate {
    () => {
        "WITH head AS MATERIALIZED ( \
             SELECT id, epoch, last_seq, message_count, updated_at FROM channels WHERE id = ANY($1::uuid[]) \
             ORDER BY id FOR UPDATE), \
         gate AS MATERIALIZED (SELECT count(*) = cardinality($1::uuid[]) AND ( \
             SELECT count(*) FROM users JOIN UNNEST($6::uuid[], $7::text[]) AS believed (id, status) USING (id, status) \
             ) = cardinality($6::uuid[]) AS open \
             FROM head JOIN UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[]) \
             AS read (id, epoch, last_seq, message_count, updated_at) \
             USING (id, epoch, last_seq, message_count, updated_at)), "
    };
}

/// New messages and events. The arrays are unfolded side by side: as one table of many, `FROM UNNEST(…)`, PostgreSQL keeps
/// each in a table of its own first, which takes a tenth of a whole batch.
macro_rules! inserts {
    () => {
        "message AS (INSERT INTO messages (id, channel_id, seq, sender_id, client_message_id, type, status, content, \
             payload, reply_to, created_at) SELECT unnest($11::uuid[]), unnest($12::uuid[]), unnest($13::bigint[]), \
             unnest($14::uuid[]), unnest($15::text[]), unnest($16::text[]), unnest($17::text[]), unnest($18::text[]), \
             unnest($19::text[]), unnest($20::uuid[]), unnest($21::bigint[]) WHERE (SELECT open FROM gate)), \
         event AS (INSERT INTO channel_events (channel_id, seq, event_id, type, body, created_at) \
             SELECT unnest($22::uuid[]), unnest($23::bigint[]), unnest($24::uuid[]), unnest($25::text[]), \
             unnest($26::text[]), unnest($27::bigint[]) WHERE (SELECT open FROM gate)), "
    };
}

/// For batches of sends alone: of channels and members only counters change.
const SENDS: &str = concat!(
    gate!(),
    inserts!(),
    "channel AS (UPDATE channels c SET last_seq = n.last_seq, message_count = n.message_count, \
         updated_at = n.updated_at FROM UNNEST($1::uuid[], $8::bigint[], $9::bigint[], $10::bigint[]) \
         AS n (id, last_seq, message_count, updated_at) WHERE c.id = n.id AND (SELECT open FROM gate)), \
     member AS (UPDATE channel_members m SET last_read_seq = GREATEST(m.last_read_seq, n.seq), \
         last_read_count = GREATEST(m.last_read_count, n.count) \
         FROM UNNEST($28::uuid[], $29::uuid[], $30::bigint[], $31::bigint[]) AS n (channel_id, user_id, seq, count) \
         WHERE m.channel_id = n.channel_id AND m.user_id = n.user_id AND (SELECT open FROM gate)) \
     SELECT open FROM gate"
);

/// For all others.
const ALL: &str = concat!(
    gate!(),
    inserts!(),
    "channel AS (UPDATE channels c SET name = n.name, description = n.description, active = n.active, \
         last_seq = n.last_seq, message_count = n.message_count, updated_at = n.updated_at \
         FROM UNNEST($1::uuid[], $8::bigint[], $9::bigint[], $10::bigint[], $28::text[], $29::text[], $30::boolean[]) \
         AS n (id, last_seq, message_count, updated_at, name, description, active) \
         WHERE c.id = n.id AND (SELECT open FROM gate)), \
     ended AS (DELETE FROM channel_members m USING UNNEST($31::uuid[], $32::uuid[]) AS k (channel_id, user_id) \
         WHERE m.channel_id = k.channel_id AND m.user_id = k.user_id AND (SELECT open FROM gate)), \
     member AS (INSERT INTO channel_members AS m \
         (channel_id, user_id, role, joined_at, last_read_seq, last_read_count) \
         SELECT * FROM UNNEST($33::uuid[], $34::uuid[], $35::text[], $36::bigint[], $37::bigint[], $38::bigint[]) \
         WHERE (SELECT open FROM gate) \
         ON CONFLICT (channel_id, user_id) DO UPDATE SET role = excluded.role, joined_at = excluded.joined_at, \
         last_read_seq = GREATEST(m.last_read_seq, excluded.last_read_seq), \
         last_read_count = GREATEST(m.last_read_count, excluded.last_read_count)) \
     SELECT open FROM gate"
);

/// Writes each table, and commits unless a transaction is open: all in one statement, which changes nothing and answers
/// `false` if a channel is not as it was read, or a sender is not what it is believed to be.
pub(super) async fn write(
    connection: &mut PgConnection,
    changes: &Changes,
    read: &Places,
    senders: &Senders,
) -> Result<bool, sqlx::Error> {
    let statement = if let Some(single) = Single::of(changes, read, senders) {
        single.statement()
    } else if changes.are_sends() {
        bind_markers(bind_inserts(bind_gate(sqlx::query(SENDS), changes, read, senders), changes), changes)
    } else {
        let statement = bind_inserts(bind_gate(sqlx::query(ALL), changes, read, senders), changes);
        bind_members(bind_details(statement, changes), changes)
    };
    // To its end: only then has it been committed.
    let rows = statement.fetch_all(connection).await?;
    rows.first().map_or(Ok(false), |row| row.try_get(0))
}

/// `$1` to `$10`: the channels as they were read, the senders, and the channels' counters as they are now.
fn bind_gate<'q>(statement: Statement<'q>, changes: &'q Changes, read: &Places, senders: &Senders) -> Statement<'q> {
    let now = &changes.channels;
    let before: Vec<_> = now.iter().filter_map(|channel| read.channels.get(&channel.id)).collect();
    statement
        .bind(now.iter().map(|row| row.id.as_uuid()).collect::<Vec<_>>())
        .bind(before.iter().map(|row| row.epoch.as_uuid()).collect::<Vec<_>>())
        .bind(before.iter().map(|row| column(row.last_seq)).collect::<Vec<_>>())
        .bind(before.iter().map(|row| column(row.message_count)).collect::<Vec<_>>())
        .bind(before.iter().map(|row| row.updated_at.as_millis()).collect::<Vec<_>>())
        .bind(senders.keys().map(|id| id.as_uuid()).collect::<Vec<_>>())
        .bind(senders.values().map(|status| status.as_str()).collect::<Vec<_>>())
        .bind(now.iter().map(|row| column(row.last_seq)).collect::<Vec<_>>())
        .bind(now.iter().map(|row| column(row.message_count)).collect::<Vec<_>>())
        .bind(now.iter().map(|row| row.updated_at.as_millis()).collect::<Vec<_>>())
}

/// `$11` to `$27`.
fn bind_inserts<'q>(statement: Statement<'q>, changes: &'q Changes) -> Statement<'q> {
    bind_events(bind_messages(statement, changes), changes)
}

/// How far senders have read, from `$28` on.
fn bind_markers<'q>(statement: Statement<'q>, changes: &'q Changes) -> Statement<'q> {
    let rows = &changes.members;
    statement
        .bind(rows.iter().map(|row| row.channel_id.as_uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.user_id.as_uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| column(row.last_read_seq)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| column(row.last_read_count)).collect::<Vec<_>>())
}

/// What else is changed of channels, from `$28` on.
fn bind_details<'q>(statement: Statement<'q>, changes: &'q Changes) -> Statement<'q> {
    let rows = &changes.channels;
    statement
        .bind(rows.iter().map(|row| row.details.name.as_deref().map(storable)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.details.description.as_deref().map(storable)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.active).collect::<Vec<_>>())
}

fn bind_messages<'q>(statement: Statement<'q>, changes: &'q Changes) -> Statement<'q> {
    let rows = &changes.messages;
    let messages = || rows.iter().map(|row| &row.message);
    statement
        .bind(messages().map(|message| message.id.as_uuid()).collect::<Vec<_>>())
        .bind(messages().map(|message| message.channel_id.as_uuid()).collect::<Vec<_>>())
        .bind(messages().map(|message| column(message.seq)).collect::<Vec<_>>())
        .bind(messages().map(|message| message.sender_id.as_uuid()).collect::<Vec<_>>())
        .bind(messages().map(|message| message.client_message_id.as_ref().map(|id| id.as_str())).collect::<Vec<_>>())
        .bind(messages().map(|message| message.content.message_type().as_str()).collect::<Vec<_>>())
        .bind(messages().map(|message| message.status.as_str()).collect::<Vec<_>>())
        .bind(messages().map(|message| storable(message.content.summary())).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.payload.as_str()).collect::<Vec<_>>())
        .bind(messages().map(|message| message.reply_to.map(|id| id.as_uuid())).collect::<Vec<_>>())
        .bind(messages().map(|message| message.sent_at.as_millis()).collect::<Vec<_>>())
}

fn bind_events<'q>(statement: Statement<'q>, changes: &'q Changes) -> Statement<'q> {
    let rows = &changes.events;
    statement
        .bind(rows.iter().map(|row| row.channel_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| column(row.seq)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.event_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.event_type.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.body.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.at.as_millis()).collect::<Vec<_>>())
}

fn bind_members<'q>(statement: Statement<'q>, changes: &'q Changes) -> Statement<'q> {
    let (ended_channels, ended_users): (Vec<Uuid>, Vec<Uuid>) =
        changes.ended.iter().map(|(channel, user)| (channel.as_uuid(), user.as_uuid())).unzip();
    bind_member_rows(statement.bind(ended_channels).bind(ended_users), &changes.members)
}

/// Memberships as columns.
pub(super) fn bind_member_rows<'q>(statement: Statement<'q>, rows: &'q [Member]) -> Statement<'q> {
    statement
        .bind(rows.iter().map(|row| row.channel_id.as_uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.user_id.as_uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.role.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.joined_at.as_millis()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| column(row.last_read_seq)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| column(row.last_read_count)).collect::<Vec<_>>())
}
