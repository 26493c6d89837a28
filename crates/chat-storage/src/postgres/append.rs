//! The transaction of a batch: lock the channels, load, apply, write each table with one statement.

use chat_domain::{
    Channel, ChannelId, Command, Ledger, Member, Message, MessageId, Refusal, User, UserId, ledger::Needs,
    ports::Appended,
};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    batch::{Batch, Changes, NewEvent, NewMessage, storable},
    rows::{ChannelRow, MemberRow, MessageRow, UserRow, column, read_all},
    sql::{channel_columns, message_columns, user_columns},
};

/// Carries out a batch, or leaves no trace.
pub(super) async fn append(
    pool: &PgPool,
    commands: Vec<Command>,
) -> Result<Vec<Result<Appended, Refusal>>, sqlx::Error> {
    let mut transaction = super::begin(pool).await?;
    let ledger = load(&mut transaction, &Needs::of(&commands)).await?;
    let Batch { answers, changes } = Batch::apply(ledger, commands)?;
    if changes.is_empty() {
        transaction.rollback().await?;
        return Ok(answers);
    }
    insert_messages(&mut transaction, &changes.messages).await?;
    insert_events(&mut transaction, &changes.events).await?;
    update_channels(&mut transaction, &changes.channels).await?;
    update_members(&mut transaction, &changes).await?;
    transaction.commit().await?;
    Ok(answers)
}

async fn load(connection: &mut PgConnection, needs: &Needs) -> Result<Ledger, sqlx::Error> {
    // First the locks. What later statements read includes all that the former holders of the locks have committed.
    let channels = lock_channels(connection, needs).await?;
    let members = load_members(connection, needs).await?;
    let users = load_users(connection, needs).await?;
    let sent = load_sent(connection, needs).await?;
    let reply_targets = load_reply_targets(connection, needs).await?;
    Ok(Ledger::new(channels, members, users, sent, reply_targets))
}

async fn lock_channels(connection: &mut PgConnection, needs: &Needs) -> Result<Vec<Channel>, sqlx::Error> {
    const SQL: &str =
        concat!("SELECT ", channel_columns!(), " FROM channels WHERE id = ANY($1) ORDER BY id FOR UPDATE");
    let ids: Vec<Uuid> = needs.channels.iter().map(|id| id.as_uuid()).collect();
    read_all(sqlx::query_as(SQL).bind(ids).fetch_all(connection).await?, ChannelRow::read)
}

async fn load_members(connection: &mut PgConnection, needs: &Needs) -> Result<Vec<Member>, sqlx::Error> {
    const SQL: &str = "SELECT m.channel_id, m.user_id, m.role, m.joined_at, m.last_read_seq, m.last_read_count \
         FROM channel_members m JOIN UNNEST($1::uuid[], $2::uuid[]) AS k (channel_id, user_id) \
         ON m.channel_id = k.channel_id AND m.user_id = k.user_id";
    let (channels, users) = columns(needs.members.iter());
    read_all(sqlx::query_as(SQL).bind(channels).bind(users).fetch_all(connection).await?, MemberRow::read)
}

async fn load_users(connection: &mut PgConnection, needs: &Needs) -> Result<Vec<User>, sqlx::Error> {
    const SQL: &str = concat!("SELECT ", user_columns!(), " FROM users WHERE id = ANY($1)");
    let ids: Vec<Uuid> = needs.users.iter().map(|id| id.as_uuid()).collect();
    read_all(sqlx::query_as(SQL).bind(ids).fetch_all(connection).await?, UserRow::read)
}

async fn load_sent(connection: &mut PgConnection, needs: &Needs) -> Result<Vec<Message>, sqlx::Error> {
    const SQL: &str = concat!(
        "SELECT ",
        message_columns!(),
        " FROM messages JOIN UNNEST($1::uuid[], $2::text[]) AS k (sender, client_id) \
         ON sender_id = k.sender AND client_message_id = k.client_id"
    );
    if needs.client_message_ids.is_empty() {
        return Ok(Vec::new());
    }
    let (senders, ids): (Vec<Uuid>, Vec<&str>) =
        needs.client_message_ids.iter().map(|(sender, id)| (sender.as_uuid(), id.as_str())).unzip();
    read_all(sqlx::query_as(SQL).bind(senders).bind(ids).fetch_all(connection).await?, MessageRow::read)
}

async fn load_reply_targets(
    connection: &mut PgConnection,
    needs: &Needs,
) -> Result<Vec<(MessageId, ChannelId)>, sqlx::Error> {
    const SQL: &str = "SELECT id, channel_id FROM messages WHERE id = ANY($1)";
    if needs.reply_targets.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = needs.reply_targets.iter().map(|id| id.as_uuid()).collect();
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(SQL).bind(ids).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(id, channel)| (id.into(), channel.into())).collect())
}

async fn insert_messages(connection: &mut PgConnection, rows: &[NewMessage]) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO messages (id, channel_id, seq, sender_id, client_message_id, type, status, content, \
         payload, reply_to, created_at) SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], \
         $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::uuid[], $11::bigint[])";
    if rows.is_empty() {
        return Ok(());
    }
    let messages = || rows.iter().map(|row| &row.message);
    sqlx::query(SQL)
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
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert_events(connection: &mut PgConnection, rows: &[NewEvent]) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO channel_events (channel_id, seq, event_id, type, body, created_at) \
         SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::bigint[])";
    sqlx::query(SQL)
        .bind(rows.iter().map(|row| row.channel_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| column(row.seq)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.event_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.event_type.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.body.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.at.as_millis()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

async fn update_channels(connection: &mut PgConnection, rows: &[Channel]) -> Result<(), sqlx::Error> {
    const SQL: &str = "UPDATE channels c SET name = n.name, description = n.description, active = n.active, \
         last_seq = n.last_seq, message_count = n.message_count, updated_at = n.updated_at \
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::boolean[], $5::bigint[], $6::bigint[], $7::bigint[]) \
         AS n (id, name, description, active, last_seq, message_count, updated_at) WHERE c.id = n.id";
    sqlx::query(SQL)
        .bind(rows.iter().map(|row| row.id.as_uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.details.name.as_deref().map(storable)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.details.description.as_deref().map(storable)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.active).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| column(row.last_seq)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| column(row.message_count)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.updated_at.as_millis()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

async fn update_members(connection: &mut PgConnection, changes: &Changes) -> Result<(), sqlx::Error> {
    const END: &str = "DELETE FROM channel_members m USING UNNEST($1::uuid[], $2::uuid[]) AS k (channel_id, user_id) \
         WHERE m.channel_id = k.channel_id AND m.user_id = k.user_id";
    if !changes.members.is_empty() {
        upsert_members(connection, &changes.members).await?;
    }
    if !changes.ended.is_empty() {
        let (channels, users) = columns(changes.ended.iter());
        sqlx::query(END).bind(channels).bind(users).execute(connection).await?;
    }
    Ok(())
}

/// Writes memberships, new or changed. A read marker never goes back.
pub(super) async fn upsert_members(connection: &mut PgConnection, rows: &[Member]) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO channel_members AS m \
         (channel_id, user_id, role, joined_at, last_read_seq, last_read_count) \
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) \
         ON CONFLICT (channel_id, user_id) DO UPDATE SET role = excluded.role, joined_at = excluded.joined_at, \
         last_read_seq = GREATEST(m.last_read_seq, excluded.last_read_seq), \
         last_read_count = GREATEST(m.last_read_count, excluded.last_read_count)";
    sqlx::query(SQL)
        .bind(rows.iter().map(|row| row.channel_id.as_uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.user_id.as_uuid()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.role.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.joined_at.as_millis()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| column(row.last_read_seq)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| column(row.last_read_count)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

fn columns<'a>(keys: impl Iterator<Item = &'a (ChannelId, UserId)>) -> (Vec<Uuid>, Vec<Uuid>) {
    keys.map(|(channel, user)| (channel.as_uuid(), user.as_uuid())).unzip()
}
