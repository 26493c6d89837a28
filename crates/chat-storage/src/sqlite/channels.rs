//! Channels and members.

use chat_domain::{
    ChannelId, Refusal, User, UserId,
    ports::{Access, ChannelCursor, ChannelScope, ChannelSummary, ChannelView, Created, Head, MemberView, NewChannel},
};
use sqlx::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::{
    append::upsert_members,
    json::{array, hex},
    writer::Writer,
};
use crate::{
    batch::storable,
    create::Founding,
    rows::{
        AccessRow, ChannelRow, ChannelSummaryRow, ChannelViewRow, HeadRow, MemberRow, MemberViewRow, UserRow, column,
        list_start, read_all,
    },
    sql::{self, EPOCHS_AT_ONCE, user_columns},
};

/// Makes a channel, or finds the DIRECT one that the pair has.
pub(super) async fn create(writer: &Writer, new: NewChannel) -> Result<Result<Created, Refusal>, sqlx::Error> {
    let founding = Founding::new(new);
    let mut transaction = writer.begin().await?;
    let users = load_users(&mut transaction, &founding).await?;
    if let Err(refusal) = founding.check_creator(&users) {
        return transaction.rollback().await.map(|()| Err(refusal));
    }
    if let Some(existing) = find_direct(&mut transaction, &founding).await? {
        return transaction.rollback().await.map(|()| Ok(existing));
    }
    if let Err(refusal) = founding.check_others(&users) {
        return transaction.rollback().await.map(|()| Err(refusal));
    }
    // Under the write lock nobody else can have made it meanwhile.
    insert_channel(&mut transaction, &founding).await?;
    upsert_members(&mut transaction, &founding.members()).await?;
    transaction.commit().await?;
    Ok(Ok(Created { channel: founding.channel, member: founding.creator, existed: false }))
}

async fn load_users(connection: &mut SqliteConnection, founding: &Founding) -> Result<Vec<User>, sqlx::Error> {
    const SQL: &str =
        concat!("SELECT ", user_columns!(), " FROM users WHERE id IN (SELECT unhex(value) FROM json_each($1))");
    let ids = array(founding.user_ids().map(hex))?;
    read_all(sqlx::query_as(SQL).bind(ids).fetch_all(connection).await?, UserRow::read)
}

async fn find_direct(connection: &mut SqliteConnection, founding: &Founding) -> Result<Option<Created>, sqlx::Error> {
    let Some(key) = &founding.direct_key else { return Ok(None) };
    let row: Option<ChannelRow> =
        sqlx::query_as(sql::DIRECT_CHANNEL).bind(key).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(None) };
    let channel = row.read()?;
    let member: MemberRow = sqlx::query_as(sql::MEMBER)
        .bind(channel.id.as_uuid())
        .bind(founding.creator.user_id.as_uuid())
        .fetch_one(connection)
        .await?;
    Ok(Some(Created { channel, member: member.read()?, existed: true }))
}

async fn insert_channel(connection: &mut SqliteConnection, founding: &Founding) -> Result<(), sqlx::Error> {
    let channel = &founding.channel;
    sqlx::query(sql::INSERT_CHANNEL)
        .bind(channel.id.as_uuid())
        .bind(channel.channel_type.as_str())
        .bind(channel.details.name.as_deref().map(storable))
        .bind(channel.details.description.as_deref().map(storable))
        .bind(channel.owner_id.map(|id| id.as_uuid()))
        .bind(channel.active)
        .bind(channel.epoch.as_uuid())
        .bind(column(channel.last_seq))
        .bind(column(channel.message_count))
        .bind(channel.created_at.as_millis())
        .bind(channel.updated_at.as_millis())
        .bind(founding.direct_key.as_deref())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn channel(
    pool: &SqlitePool,
    id: ChannelId,
    user: UserId,
) -> Result<Option<ChannelView>, sqlx::Error> {
    let row: Option<ChannelViewRow> =
        sqlx::query_as(sql::CHANNEL_VIEW).bind(user.as_uuid()).bind(id.as_uuid()).fetch_optional(pool).await?;
    row.map(ChannelViewRow::read).transpose()
}

pub(super) async fn channels(
    pool: &SqlitePool,
    user: UserId,
    scope: ChannelScope,
    after: Option<ChannelCursor>,
    limit: u32,
) -> Result<Vec<ChannelSummary>, sqlx::Error> {
    let (updated_at, id) = list_start(after);
    let sql = match scope {
        ChannelScope::Mine => sql::MY_CHANNELS,
        ChannelScope::Public => sql::PUBLIC_CHANNELS,
    };
    let rows = sqlx::query_as(sql)
        .bind(user.as_uuid())
        .bind(updated_at)
        .bind(id)
        .bind(i64::from(limit) + 1)
        .fetch_all(pool)
        .await?;
    read_all(rows, ChannelSummaryRow::read)
}

pub(super) async fn members(
    pool: &SqlitePool,
    channel: ChannelId,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<MemberView>, sqlx::Error> {
    let rows = sqlx::query_as(sql::MEMBERS)
        .bind(channel.as_uuid())
        .bind(after.map_or(Uuid::nil(), |id| id.as_uuid()))
        .bind(after.is_none())
        .bind(i64::from(limit) + 1)
        .fetch_all(pool)
        .await?;
    read_all(rows, MemberViewRow::read)
}

pub(super) async fn heads(pool: &SqlitePool, channels: &[ChannelId]) -> Result<Vec<Head>, sqlx::Error> {
    const SQL: &str =
        "SELECT id, epoch, last_seq, oldest_seq FROM channels WHERE id IN (SELECT unhex(value) FROM json_each($1))";
    read_all(sqlx::query_as(SQL).bind(ids(channels)?).fetch_all(pool).await?, HeadRow::read)
}

pub(super) async fn access(
    pool: &SqlitePool,
    wishes: &[(UserId, ChannelId)],
) -> Result<Vec<(UserId, Access)>, sqlx::Error> {
    const SQL: &str = "SELECT w.user_id, c.id, c.epoch, c.last_seq, c.oldest_seq, c.type, c.active, m.role, u.status \
         FROM (SELECT unhex(value ->> 0) AS user_id, unhex(value ->> 1) AS channel_id FROM json_each($1)) w \
         JOIN channels c ON c.id = w.channel_id \
         LEFT JOIN channel_members m ON m.channel_id = c.id AND m.user_id = w.user_id \
         LEFT JOIN users u ON u.id = w.user_id";
    let wishes = array(wishes.iter().map(|(user, channel)| (hex(user.as_uuid()), hex(channel.as_uuid()))))?;
    read_all(sqlx::query_as(SQL).bind(wishes).fetch_all(pool).await?, AccessRow::read)
}

/// New epochs for the next channels after this one, in the order of their ids.
pub(super) async fn renew_epochs(writer: &Writer, after: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
    const SQL: &str = "UPDATE channels SET epoch = randomblob(16) \
         WHERE id IN (SELECT id FROM channels WHERE id > $1 ORDER BY id LIMIT $2) RETURNING id";
    let mut transaction = writer.begin().await?;
    let ids = sqlx::query_scalar(SQL).bind(after).bind(EPOCHS_AT_ONCE).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(ids)
}

fn ids(channels: &[ChannelId]) -> Result<String, sqlx::Error> {
    array(channels.iter().map(|id| hex(id.as_uuid())))
}
