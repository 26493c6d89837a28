//! Messages and events, for reading.

use super::pool::Pool;
use crate::{
    history::Plan,
    rows::{EventRow, MessageRow, column, read_all},
    sql,
};
use chat_domain::{
    ChannelId, Message, MessageId,
    ports::{HistoryAnchor, HistoryPage, LoggedEvent},
};

pub(super) async fn message(pool: &Pool, id: MessageId) -> Result<Option<Message>, sqlx::Error> {
    let row: Option<MessageRow> =
        sqlx::query_as(sql::MESSAGE).bind(id.as_uuid()).fetch_optional(&mut *pool.connection().await?).await?;
    row.map(MessageRow::read).transpose()
}

pub(super) async fn history(
    pool: &Pool,
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
        .fetch_all(&mut *pool.connection().await?)
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
