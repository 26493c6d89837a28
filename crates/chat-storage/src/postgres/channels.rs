//! Channels and members.

use chat_domain::{
    ChannelId, Member, Refusal, User, UserId,
    ports::{Access, ChannelCursor, ChannelScope, ChannelSummary, ChannelView, Created, Head, MemberView, NewChannel},
};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{pool::Pool, write::bind_member_rows};
use crate::{
    batch::storable,
    create::Founding,
    error::corrupt,
    rows::{
        AccessRow, ChannelRow, ChannelSummaryRow, ChannelViewRow, HeadRow, MemberRow, MemberViewRow, UserRow, column,
        list_start, read_all,
    },
    sql::{self, EPOCHS_AT_ONCE, user_columns},
};

/// Makes a channel, or finds the DIRECT one that the pair has.
pub(super) async fn create(pool: &Pool, new: NewChannel) -> Result<Result<Created, Refusal>, sqlx::Error> {
    let founding = Founding::new(new);
    let mut connection = pool.connection().await?;
    let mut transaction = connection.begin_with(super::BEGIN).await?;
    let users = load_users(&mut transaction, &founding).await?;
    if let Err(refusal) = founding.check_creator(&users) {
        return Ok(Err(refusal));
    }
    if let Some(existing) = find_direct(&mut transaction, &founding).await? {
        return Ok(Ok(existing));
    }
    if let Err(refusal) = founding.check_others(&users) {
        return Ok(Err(refusal));
    }
    if !insert_channel(&mut transaction, &founding).await? {
        // The other one of the pair was faster; the insert has waited for its commit.
        let existing = find_direct(&mut transaction, &founding).await?;
        return existing.map(Ok).ok_or_else(|| corrupt("a DIRECT channel is there and is not"));
    }
    insert_members(&mut transaction, &founding.members()).await?;
    transaction.commit().await?;
    Ok(Ok(Created { channel: founding.channel, member: founding.creator, existed: false }))
}

async fn insert_members(connection: &mut PgConnection, rows: &[Member]) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO channel_members (channel_id, user_id, role, joined_at, last_read_seq, \
         last_read_count) SELECT * FROM \
         UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])";
    bind_member_rows(sqlx::query(SQL), rows).execute(connection).await?;
    Ok(())
}

async fn load_users(connection: &mut PgConnection, founding: &Founding) -> Result<Vec<User>, sqlx::Error> {
    const SQL: &str = concat!("SELECT ", user_columns!(), " FROM users WHERE id = ANY($1)");
    let ids: Vec<Uuid> = founding.user_ids().collect();
    read_all(sqlx::query_as(SQL).bind(ids).fetch_all(connection).await?, UserRow::read)
}

async fn find_direct(connection: &mut PgConnection, founding: &Founding) -> Result<Option<Created>, sqlx::Error> {
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

/// False if the pair has a DIRECT channel.
async fn insert_channel(connection: &mut PgConnection, founding: &Founding) -> Result<bool, sqlx::Error> {
    let channel = &founding.channel;
    let inserted = sqlx::query(sql::INSERT_CHANNEL)
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
    Ok(inserted.rows_affected() == 1)
}

pub(super) async fn channel(pool: &Pool, id: ChannelId, user: UserId) -> Result<Option<ChannelView>, sqlx::Error> {
    let row: Option<ChannelViewRow> = sqlx::query_as(sql::CHANNEL_VIEW)
        .bind(user.as_uuid())
        .bind(id.as_uuid())
        .fetch_optional(&mut *pool.connection().await?)
        .await?;
    row.map(ChannelViewRow::read).transpose()
}

pub(super) async fn channels(
    pool: &Pool,
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
        .fetch_all(&mut *pool.connection().await?)
        .await?;
    read_all(rows, ChannelSummaryRow::read)
}

pub(super) async fn members(
    pool: &Pool,
    channel: ChannelId,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<MemberView>, sqlx::Error> {
    let rows = sqlx::query_as(sql::MEMBERS)
        .bind(channel.as_uuid())
        .bind(after.map_or(Uuid::nil(), |id| id.as_uuid()))
        .bind(after.is_none())
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut *pool.connection().await?)
        .await?;
    read_all(rows, MemberViewRow::read)
}

pub(super) async fn heads(pool: &Pool, channels: &[ChannelId]) -> Result<Vec<Head>, sqlx::Error> {
    const SQL: &str = "SELECT id, epoch, last_seq, oldest_seq FROM channels WHERE id = ANY($1)";
    read_all(sqlx::query_as(SQL).bind(uuids(channels)).fetch_all(&mut *pool.connection().await?).await?, HeadRow::read)
}

pub(super) async fn access(pool: &Pool, wishes: &[(UserId, ChannelId)]) -> Result<Vec<(UserId, Access)>, sqlx::Error> {
    const SQL: &str = "SELECT w.user_id, c.id, c.epoch, c.last_seq, c.oldest_seq, c.type, c.active, m.role, u.status \
         FROM unnest($1::uuid[], $2::uuid[]) AS w (user_id, channel_id) JOIN channels c ON c.id = w.channel_id \
         LEFT JOIN channel_members m ON m.channel_id = c.id AND m.user_id = w.user_id \
         LEFT JOIN users u ON u.id = w.user_id";
    let (users, channels): (Vec<_>, Vec<_>) =
        wishes.iter().map(|(user, channel)| (user.as_uuid(), channel.as_uuid())).unzip();
    let rows = sqlx::query_as(SQL).bind(users).bind(channels).fetch_all(&mut *pool.connection().await?).await?;
    read_all(rows, AccessRow::read)
}

/// New epochs for the next channels after this one, in the order of their ids.
pub(super) async fn renew_epochs(pool: &Pool, after: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
    const SQL: &str = "UPDATE channels SET epoch = gen_random_uuid() \
         WHERE id IN (SELECT id FROM channels WHERE id > $1 ORDER BY id LIMIT $2 FOR UPDATE) RETURNING id";
    sqlx::query_scalar(SQL).bind(after).bind(EPOCHS_AT_ONCE).fetch_all(&mut *pool.connection().await?).await
}

fn uuids(channels: &[ChannelId]) -> Vec<Uuid> {
    channels.iter().map(|id| id.as_uuid()).collect()
}
