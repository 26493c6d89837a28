//! What an operator, or a fault, does to the store behind the servers' back.

use chat_domain::ChannelId;
use chat_test_support::system::System;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};

/// Runs statements in which `:channel` stands for the channel, as the store writes ids.
pub(crate) async fn execute(system: &System, sql: &str, channel: ChannelId) {
    let id: uuid::Uuid = channel.to_string().parse().unwrap();
    if let Some(database) = system.database() {
        let sql = sql.replace(":channel", &format!("'{id}'::uuid"));
        let mut connection = PgConnection::connect(&database.url()).await.unwrap();
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        return connection.close().await.unwrap();
    }
    let sql = sql.replace(":channel", &format!("X'{}'", id.simple()));
    let url = format!("sqlite://{}", system.sqlite_file().display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    connection.execute(AssertSqlSafe(format!("PRAGMA busy_timeout = 10000; {sql}"))).await.unwrap();
    connection.close().await.unwrap();
}
