use chat_test_support::postgres::Database;
use sqlx::postgres::PgPool;

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
