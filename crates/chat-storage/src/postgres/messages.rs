//! Messages and events, for reading.

use chat_domain::{
    ChannelId, Message, MessageId,
    ports::{HistoryAnchor, HistoryPage, LoggedEvent},
};
use sqlx::PgConnection;

use super::pool::Pool;
use crate::{
    history::Plan,
    rows::{EventRow, MessageRow, column, read_all},
    sql,
};

pub(super) async fn message(pool: &Pool, id: MessageId) -> Result<Option<Message>, sqlx::Error> {
    let row: Option<MessageRow> =
        sqlx::query_as(sql::MESSAGE).bind(id.as_uuid()).fetch_optional(&mut *pool.connection().await?).await?;
    row.map(MessageRow::read).transpose()
}

/// The page before a message, or `None` if the replica has not come as far as that message: then it lacks some of those
/// before it as well, or does not know that there are newer ones.
pub(super) async fn older_history(
    replica: &Pool,
    channel: ChannelId,
    before: u64,
    limit: u32,
) -> Result<Option<HistoryPage>, sqlx::Error> {
    const LAST_SEQ: &str = "SELECT last_seq FROM channels WHERE id = $1";
    // One connection: behind one address there may be several replicas, and another one may be further behind.
    let mut connection = replica.connection().await?;
    let last_seq: Option<i64> =
        sqlx::query_scalar(LAST_SEQ).bind(channel.as_uuid()).fetch_optional(&mut *connection).await?;
    if last_seq.is_none_or(|last_seq| last_seq < column(before)) {
        return Ok(None);
    }
    history(&mut connection, channel, HistoryAnchor::Before(before), limit).await.map(Some)
}

pub(super) async fn history(
    connection: &mut PgConnection,
    channel: ChannelId,
    from: HistoryAnchor,
    limit: u32,
) -> Result<HistoryPage, sqlx::Error> {
    let plan = Plan::new(from, limit);
    let rows = sqlx::query_as(sql::HISTORY)
        .bind(channel.as_uuid())
        .bind(plan.pivot)
        .bind(plan.older_rows())
        .bind(plan.newer_rows())
        .fetch_all(connection)
        .await?;
    Ok(plan.page(read_all(rows, MessageRow::read)?))
}

pub(super) async fn replay(
    pool: &Pool,
    channel: ChannelId,
    after_seq: u64,
    limit: u32,
) -> Result<Vec<LoggedEvent>, sqlx::Error> {
    let rows = sqlx::query_as(sql::REPLAY)
        .bind(channel.as_uuid())
        .bind(column(after_seq))
        .bind(i64::from(limit))
        .fetch_all(&mut *pool.connection().await?)
        .await?;
    read_all(rows, |row: EventRow| row.read(channel))
}
