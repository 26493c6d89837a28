use std::time::Duration;

use chat_test_support::postgres::{Database, PostgresServer};
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgPool};

#[tokio::test]
async fn each_test_has_its_own_database_and_leaves_none_behind() {
    let (one, other) = (Database::create().await, Database::create().await);
    let pool = PgPool::connect(&one.url()).await.unwrap();
    sqlx::query("CREATE TABLE notes (id BIGINT)").execute(&pool).await.unwrap();

    let other_pool = PgPool::connect(&other.url()).await.unwrap();
    let count = "SELECT count(*) FROM pg_tables WHERE tablename = 'notes'";
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&other_pool).await.unwrap(), 0);

    let url = one.url();
    // The pool still holds a connection: the drop has to be forced.
    drop(one);
    let refused = PgPool::connect(&url).await.unwrap_err();
    assert!(refused.to_string().contains("does not exist"), "{refused}");
}

#[tokio::test]
async fn a_panic_drops_the_database_too() {
    let database = Database::create().await;
    let url = database.url();
    let failing_test = std::thread::spawn(move || {
        let _database = database;
        panic!("the test fails");
    });
    assert!(failing_test.join().is_err());
    assert!(PgPool::connect(&url).await.unwrap_err().to_string().contains("does not exist"));
}

#[tokio::test]
async fn cut_connections_are_replaced_by_new_ones() {
    let database = Database::create().await;
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let backend = "SELECT pg_backend_pid()";
    let before: i32 = sqlx::query_scalar(backend).fetch_one(&pool).await.unwrap();

    database.cut_connections().await;

    let fresh = PgPool::connect(&database.url()).await.unwrap();
    let after: i32 = sqlx::query_scalar(backend).fetch_one(&fresh).await.unwrap();
    assert_ne!(before, after);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE pid = $1")
        .bind(before)
        .fetch_one(&fresh)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_server_of_its_own_keeps_what_it_committed_over_a_crash_and_a_stop() {
    let mut server = PostgresServer::start().await;
    let pool = PgPool::connect(&server.url()).await.unwrap();
    sqlx::query("CREATE TABLE notes (id BIGINT)").execute(&pool).await.unwrap();
    sqlx::query("INSERT INTO notes VALUES (1)").execute(&pool).await.unwrap();
    server.kill();
    // A pool would go on trying.
    assert!(PgConnection::connect(&server.url()).await.is_err());
    server.restart().await;

    let pool = PgPool::connect(&server.url()).await.unwrap();
    sqlx::query("INSERT INTO notes VALUES (2)").execute(&pool).await.unwrap();
    server.stop();
    server.restart().await;

    let pool = PgPool::connect(&server.url()).await.unwrap();
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&pool).await.unwrap();
    assert_eq!(count, 2);
}

#[tokio::test]
async fn a_frozen_server_goes_on_or_is_killed() {
    let mut server = PostgresServer::start().await;
    let pool = PgPool::connect(&server.url()).await.unwrap();
    let ask = async || sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&pool).await.unwrap();
    ask().await;

    server.pause();
    assert!(tokio::time::timeout(Duration::from_millis(100), ask()).await.is_err());
    server.resume();
    ask().await;

    server.pause();
    server.restart().await;
    PgPool::connect(&server.url()).await.unwrap();
}
