//! Users.

use chat_domain::{Refusal, Timestamp, User, UserId, UserStatus, ports::Standing};
use sqlx::SqlitePool;

use super::{
    json::{array, hex},
    writer::Writer,
};
use crate::{
    batch::storable,
    bounded::side_write,
    rows::{StandingRow, UserRow, is_stale, read_all},
    sql,
};

pub(super) async fn ensure(
    readers: &SqlitePool,
    writer: &Writer,
    id: UserId,
    username: &str,
    at: Timestamp,
) -> Result<User, sqlx::Error> {
    let mut row = find(readers, id).await?;
    if row.is_none() {
        let insert = sqlx::query(sql::INSERT_USER).bind(id.as_uuid()).bind(storable(username)).bind(at.as_millis());
        let mut transaction = writer.begin().await?;
        insert.execute(&mut *transaction).await?;
        transaction.commit().await?;
        row = find(readers, id).await?;
    }
    let row = row.ok_or(sqlx::Error::RowNotFound)?;
    if is_stale(row.last_active_at, at) {
        side_write("touch_user", touch(writer, id, at)).await;
    }
    row.read()
}

async fn touch(writer: &Writer, id: UserId, at: Timestamp) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin().await?;
    sqlx::query(sql::TOUCH_USER).bind(id.as_uuid()).bind(at.as_millis()).execute(&mut *transaction).await?;
    transaction.commit().await
}

pub(super) async fn user(pool: &SqlitePool, id: UserId) -> Result<Option<User>, sqlx::Error> {
    find(pool, id).await?.map(UserRow::read).transpose()
}

pub(super) async fn restricted(pool: &SqlitePool, users: &[UserId]) -> Result<Vec<Standing>, sqlx::Error> {
    const SQL: &str = "SELECT id, status, tokens_valid_from FROM users \
         WHERE id IN (SELECT unhex(value) FROM json_each($1)) \
         AND (status <> 'ACTIVE' OR tokens_valid_from IS NOT NULL)";
    let ids = array(users.iter().map(|id| hex(id.as_uuid())))?;
    read_all(sqlx::query_as(SQL).bind(ids).fetch_all(pool).await?, StandingRow::read)
}

pub(super) async fn update_profile(
    writer: &Writer,
    id: UserId,
    username: Option<&str>,
    email: Option<&str>,
    at: Timestamp,
) -> Result<Option<User>, sqlx::Error> {
    let mut transaction = writer.begin().await?;
    let row: Option<UserRow> = sqlx::query_as(sql::UPDATE_PROFILE)
        .bind(id.as_uuid())
        .bind(username.map(storable))
        .bind(email.is_some())
        .bind(email.filter(|email| !email.is_empty()).map(storable))
        .bind(at.as_millis())
        .fetch_optional(&mut *transaction)
        .await?;
    transaction.commit().await?;
    row.map(UserRow::read).transpose()
}

pub(super) async fn change_status(
    writer: &Writer,
    id: UserId,
    to: UserStatus,
    at: Timestamp,
) -> Result<Result<User, Refusal>, sqlx::Error> {
    let mut transaction = writer.begin().await?;
    let row: Option<UserRow> = sqlx::query_as(sql::USER).bind(id.as_uuid()).fetch_optional(&mut *transaction).await?;
    let Some(row) = row else { return transaction.rollback().await.map(|()| Err(Refusal::UserNotFound(id))) };
    let before = row.read()?;
    let mut user = before.clone();
    if let Err(refusal) = user.change_status(to, at) {
        return transaction.rollback().await.map(|()| Err(refusal));
    }
    if user != before {
        let update = sqlx::query(sql::SET_STATUS).bind(id.as_uuid()).bind(to.as_str()).bind(at.as_millis());
        update.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(Ok(user))
}

pub(super) async fn revoke_tokens(
    writer: &Writer,
    id: UserId,
    before: Timestamp,
) -> Result<Result<Timestamp, Refusal>, sqlx::Error> {
    let mut transaction = writer.begin().await?;
    let revoke = sqlx::query_scalar(sql::REVOKE_TOKENS).bind(id.as_uuid()).bind(before.as_millis());
    let valid_from: Option<i64> = revoke.fetch_optional(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(valid_from.map(Timestamp::from_millis).ok_or(Refusal::UserNotFound(id)))
}

async fn find(pool: &SqlitePool, id: UserId) -> Result<Option<UserRow>, sqlx::Error> {
    sqlx::query_as(sql::USER).bind(id.as_uuid()).fetch_optional(pool).await
}
