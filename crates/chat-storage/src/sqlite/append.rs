//! The transaction of a batch: take the write lock, load, apply, write each table with few statements.

use chat_domain::{
    Channel, ChannelId, Command, Ledger, Member, Message, MessageId, Refusal, ledger::Needs, ports::Appended,
};
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{
    json::{array, hex},
    many::{ManyRows, pieces},
    single,
    writer::{Statement, Turn, Writer, begin},
};
use crate::{
    batch::{Batch, Changes, NewEvent, NewMessage, storable},
    rows::{MessageRow, Places, column, read_all},
    sql::{message_columns, place_columns, place_joins},
};

/// Carries out a batch, or leaves no trace.
pub(super) async fn append(
    writer: &Writer,
    commands: &[Command],
) -> Result<Vec<Result<Appended, Refusal>>, sqlx::Error> {
    let (mut transaction, ledger) = begin(writer, &Needs::of(commands)).await?;
    let Batch { answers, changes } = Batch::apply(ledger, commands)?;
    if changes.is_empty() {
        transaction.rollback().await?;
        return Ok(answers);
    }
    if let Some(send) = single::statement(&changes) {
        return transaction.commit_with(send).await.map(|()| answers);
    }
    insert_messages(&mut transaction, &changes.messages).await?;
    insert_events(&mut transaction, &changes.events).await?;
    update_channels(&mut transaction, &changes.channels).await?;
    update_members(&mut transaction, &changes).await?;
    transaction.commit().await?;
    Ok(answers)
}

/// Begins a transaction with what it needs.
async fn begin(writer: &Writer, needs: &Needs) -> Result<(Turn, Ledger), sqlx::Error> {
    const SQL: &str = concat!(
        begin!(),
        "SELECT ",
        place_columns!(),
        " FROM (SELECT unhex(value ->> 0) AS channel_id, unhex(value ->> 1) AS user_id FROM json_each(?)) k",
        place_joins!()
    );
    let keys = array(needs.members.iter().map(|(channel, user)| (hex(channel.as_uuid()), hex(user.as_uuid()))))?;
    let (mut transaction, rows) = writer.begin_with(|| sqlx::query(SQL).bind(keys.as_str())).await?;
    let Places { channels, members, users } = Places::read(&rows)?;
    let sent = load_sent(&mut transaction, needs).await?;
    let reply_targets = load_reply_targets(&mut transaction, needs).await?;
    let ledger = Ledger::new(channels.into_values(), members, users, sent, reply_targets);
    Ok((transaction, ledger))
}

async fn load_sent(connection: &mut SqliteConnection, needs: &Needs) -> Result<Vec<Message>, sqlx::Error> {
    const SQL: &str = concat!(
        "SELECT m.* FROM json_each($1) k CROSS JOIN (SELECT ",
        message_columns!(),
        " FROM messages) m ON m.sender_id = unhex(k.value ->> 0) AND m.client_message_id = k.value ->> 1"
    );
    if needs.client_message_ids.is_empty() {
        return Ok(Vec::new());
    }
    let keys = array(needs.client_message_ids.iter().map(|(sender, id)| (hex(sender.as_uuid()), id.as_str())))?;
    read_all(sqlx::query_as(SQL).bind(keys).fetch_all(connection).await?, MessageRow::read)
}

async fn load_reply_targets(
    connection: &mut SqliteConnection,
    needs: &Needs,
) -> Result<Vec<(MessageId, ChannelId)>, sqlx::Error> {
    const SQL: &str = "SELECT id, channel_id FROM messages WHERE id IN (SELECT unhex(value) FROM json_each($1))";
    if needs.reply_targets.is_empty() {
        return Ok(Vec::new());
    }
    let ids = array(needs.reply_targets.iter().map(|id| hex(id.as_uuid())))?;
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(SQL).bind(ids).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(id, channel)| (id.into(), channel.into())).collect())
}

async fn insert_messages(connection: &mut SqliteConnection, rows: &[NewMessage]) -> Result<(), sqlx::Error> {
    static INSERT: ManyRows = ManyRows::new(
        "INSERT INTO messages (id, channel_id, seq, sender_id, client_message_id, type, status, content, payload, \
         reply_to, created_at)",
        11,
        "",
    );
    for rows in pieces(rows) {
        let insert = rows.iter().fold(sqlx::query(INSERT.text(rows.len())), bind_message);
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The values of a row of `messages`.
pub(super) fn bind_message<'q>(insert: Statement<'q>, new: &'q NewMessage) -> Statement<'q> {
    let NewMessage { message, payload } = new;
    insert
        .bind(message.id.as_uuid())
        .bind(message.channel_id.as_uuid())
        .bind(column(message.seq))
        .bind(message.sender_id.as_uuid())
        .bind(message.client_message_id.as_ref().map(|id| id.as_str()))
        .bind(message.content.message_type().as_str())
        .bind(message.status.as_str())
        .bind(storable(message.content.summary()))
        .bind(payload.as_str())
        .bind(message.reply_to.map(|id| id.as_uuid()))
        .bind(message.sent_at.as_millis())
}

async fn insert_events(connection: &mut SqliteConnection, rows: &[NewEvent]) -> Result<(), sqlx::Error> {
    static INSERT: ManyRows =
        ManyRows::new("INSERT INTO channel_events (channel_id, seq, event_id, type, body, created_at)", 6, "");
    for rows in pieces(rows) {
        let insert = rows.iter().fold(sqlx::query(INSERT.text(rows.len())), bind_event);
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The values of a row of `channel_events`.
pub(super) fn bind_event<'q>(insert: Statement<'q>, event: &'q NewEvent) -> Statement<'q> {
    let NewEvent { channel_id, seq, event_id, event_type, body, at } = event;
    insert
        .bind(channel_id)
        .bind(column(*seq))
        .bind(event_id)
        .bind(event_type.as_str())
        .bind(body.as_str())
        .bind(at.as_millis())
}

async fn update_channels(connection: &mut SqliteConnection, rows: &[Channel]) -> Result<(), sqlx::Error> {
    const SQL: &str = "UPDATE channels AS c SET name = n.value ->> 1, description = n.value ->> 2, active = n.value ->> 3, \
         last_seq = n.value ->> 4, message_count = n.value ->> 5, updated_at = n.value ->> 6 \
         FROM json_each($1) n WHERE c.id = unhex(n.value ->> 0)";
    let rows = array(rows.iter().map(|row| {
        (
            hex(row.id.as_uuid()),
            row.details.name.as_deref().map(storable),
            row.details.description.as_deref().map(storable),
            row.active,
            column(row.last_seq),
            column(row.message_count),
            row.updated_at.as_millis(),
        )
    }))?;
    sqlx::query(SQL).bind(rows).execute(connection).await?;
    Ok(())
}

async fn update_members(connection: &mut SqliteConnection, changes: &Changes) -> Result<(), sqlx::Error> {
    const END: &str = "DELETE FROM channel_members WHERE (channel_id, user_id) IN \
         (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each($1))";
    upsert_members(connection, &changes.members).await?;
    if !changes.ended.is_empty() {
        let keys = array(changes.ended.iter().map(|(channel, user)| (hex(channel.as_uuid()), hex(user.as_uuid()))))?;
        sqlx::query(END).bind(keys).execute(connection).await?;
    }
    Ok(())
}

/// Writes memberships, new or changed. A read marker never goes back.
pub(super) async fn upsert_members(connection: &mut SqliteConnection, rows: &[Member]) -> Result<(), sqlx::Error> {
    static UPSERT: ManyRows = ManyRows::new(
        "INSERT INTO channel_members AS m (channel_id, user_id, role, joined_at, last_read_seq, last_read_count)",
        6,
        "ON CONFLICT (channel_id, user_id) DO UPDATE SET role = excluded.role, joined_at = excluded.joined_at, \
         last_read_seq = max(m.last_read_seq, excluded.last_read_seq), \
         last_read_count = max(m.last_read_count, excluded.last_read_count)",
    );
    for rows in pieces(rows) {
        let mut upsert = sqlx::query(UPSERT.text(rows.len()));
        for row in rows {
            upsert = upsert
                .bind(row.channel_id.as_uuid())
                .bind(row.user_id.as_uuid())
                .bind(row.role.as_str())
                .bind(row.joined_at.as_millis())
                .bind(column(row.last_read_seq))
                .bind(column(row.last_read_count));
        }
        upsert.execute(&mut *connection).await?;
    }
    Ok(())
}
