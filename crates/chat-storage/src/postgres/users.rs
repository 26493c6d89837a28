//! Users.

use chat_domain::{Refusal, Timestamp, User, UserId, UserStatus, ports::Standing};
use sqlx::Connection;

use super::pool::Pool;
use crate::{
    batch::storable,
    bounded::side_write,
    rows::{StandingRow, UserRow, is_stale, read_all},
    sql::{self, user_columns},
};

pub(super) async fn ensure(pool: &Pool, id: UserId, username: &str, at: Timestamp) -> Result<User, sqlx::Error> {
    let mut row = find(pool, id).await?;
    if row.is_none() {
        let insert = sqlx::query(sql::INSERT_USER).bind(id.as_uuid()).bind(storable(username)).bind(at.as_millis());
        insert.execute(&mut *pool.connection().await?).await?;
        row = find(pool, id).await?;
    }
    let row = row.ok_or(sqlx::Error::RowNotFound)?;
    if is_stale(row.last_active_at, at) {
        let touch = sqlx::query(sql::TOUCH_USER).bind(id.as_uuid()).bind(at.as_millis());
        side_write("touch_user", async { touch.execute(&mut *pool.connection().await?).await.map(drop) }).await;
    }
    row.read()
}

pub(super) async fn user(pool: &Pool, id: UserId) -> Result<Option<User>, sqlx::Error> {
    find(pool, id).await?.map(UserRow::read).transpose()
}

pub(super) async fn restricted(pool: &Pool, users: &[UserId]) -> Result<Vec<Standing>, sqlx::Error> {
    const SQL: &str = "SELECT id, status, tokens_valid_from FROM users \
         WHERE id = ANY($1) AND (status <> 'ACTIVE' OR tokens_valid_from IS NOT NULL)";
    let ids: Vec<_> = users.iter().map(|id| id.as_uuid()).collect();
    read_all(sqlx::query_as(SQL).bind(ids).fetch_all(&mut *pool.connection().await?).await?, StandingRow::read)
}

pub(super) async fn update_profile(
    pool: &Pool,
    id: UserId,
    username: Option<&str>,
    email: Option<&str>,
    at: Timestamp,
) -> Result<Option<User>, sqlx::Error> {
    let row: Option<UserRow> = sqlx::query_as(sql::UPDATE_PROFILE)
        .bind(id.as_uuid())
        .bind(username.map(storable))
        .bind(email.is_some())
        .bind(email.filter(|email| !email.is_empty()).map(storable))
        .bind(at.as_millis())
        .fetch_optional(&mut *pool.connection().await?)
        .await?;
    row.map(UserRow::read).transpose()
}

pub(super) async fn change_status(
    pool: &Pool,
    id: UserId,
    to: UserStatus,
    at: Timestamp,
) -> Result<Result<User, Refusal>, sqlx::Error> {
    const LOCK: &str = concat!("SELECT ", user_columns!(), " FROM users WHERE id = $1 FOR NO KEY UPDATE");
    let mut connection = pool.connection().await?;
    let mut transaction = connection.begin_with(super::BEGIN).await?;
    let row: Option<UserRow> = sqlx::query_as(LOCK).bind(id.as_uuid()).fetch_optional(&mut *transaction).await?;
    let Some(row) = row else { return Ok(Err(Refusal::UserNotFound(id))) };
    let before = row.read()?;
    let mut user = before.clone();
    if let Err(refusal) = user.change_status(to, at) {
        return Ok(Err(refusal));
    }
    if user != before {
        let update = sqlx::query(sql::SET_STATUS).bind(id.as_uuid()).bind(to.as_str()).bind(at.as_millis());
        update.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(Ok(user))
}

pub(super) async fn revoke_tokens(
    pool: &Pool,
    id: UserId,
    before: Timestamp,
) -> Result<Result<Timestamp, Refusal>, sqlx::Error> {
    let revoke = sqlx::query_scalar(sql::REVOKE_TOKENS).bind(id.as_uuid()).bind(before.as_millis());
    let valid_from: Option<i64> = revoke.fetch_optional(&mut *pool.connection().await?).await?;
    Ok(valid_from.map(Timestamp::from_millis).ok_or(Refusal::UserNotFound(id)))
}

async fn find(pool: &Pool, id: UserId) -> Result<Option<UserRow>, sqlx::Error> {
    sqlx::query_as(sql::USER).bind(id.as_uuid()).fetch_optional(&mut *pool.connection().await?).await
}
