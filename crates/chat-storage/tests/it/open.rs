//! Opening a store: at the same moment, again, and when that cannot work.

use std::{error::Error, time::Duration};

use chat_storage::{DatabaseConfig, OpenError, open};
use rstest::rstest;
use tokio::time::{Instant, timeout};

use crate::world::{Kind, Place, World, message_of};

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_start_together_all_come_up(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    for _ in 0..5 {
        let place = Place::new(kind).await;
        let config = place.config();
        let (a, b, c, d) = tokio::join!(open(&config), open(&config), open(&config), open(&config));
        for store in [a, b, c, d] {
            store.unwrap().ping().await.unwrap();
        }
    }
}

#[rstest]
#[tokio::test]
async fn everything_is_there_after_a_restart(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice").await;
    let group = world.group(alice, &[]).await;
    let sent = message_of(&world.accept(world.send(group, alice, "hi")).await).clone();
    let log = world.log(group).await;
    world.store.close().await;
    world.store.ping().await.unwrap_err();

    let again = world.open_another().await;
    assert_eq!(again.message(sent.id).await.unwrap(), Some(sent));
    assert_eq!(again.replay(group, 0, 10).await.unwrap(), log);
    let next = again.append(&[world.send(group, alice, "on")]).await.unwrap().remove(0).unwrap();
    assert_eq!(next.event.unwrap().seq, 2);
}

#[rstest]
#[tokio::test]
async fn a_schema_from_the_future_is_refused(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    world
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 9999, 'later', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
    assert!(matches!(open(&world.config()).await, Err(OpenError::Migration { .. })));
}

#[rstest]
#[case::scheme("mysql://db/chat", "allowed: sqlite://")]
#[case::nothing("", "allowed: sqlite://")]
#[case::memory("sqlite::memory:", "must name a file")]
#[case::memory_path("sqlite://:memory:", "must name a file")]
#[case::directory("sqlite:///nowhere/at/all/chat.db", "directory of the SQLite file does not exist: /nowhere/at/all")]
#[tokio::test]
async fn a_senseless_url_is_named(#[case] url: &str, #[case] says: &str) {
    let error = open(&DatabaseConfig { url: url.into(), ..DatabaseConfig::default() }).await.err().unwrap();
    assert!(error.to_string().contains(says), "{error}");
}

#[tokio::test]
async fn senseless_values_are_named() {
    let none = DatabaseConfig { max_connections: 0, ..DatabaseConfig::default() };
    assert!(open(&none).await.err().unwrap().to_string().contains("max_connections"));
    let hurry = DatabaseConfig { statement_timeout: Duration::ZERO, ..DatabaseConfig::default() };
    assert!(open(&hurry).await.err().unwrap().to_string().contains("statement_timeout"));
    let replica = DatabaseConfig { replica_url: Some("postgres://db/chat".into()), ..DatabaseConfig::default() };
    assert!(open(&replica).await.err().unwrap().to_string().contains("replica_url"));
}

#[tokio::test]
async fn a_server_that_refuses_is_an_error_without_the_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_unreachable(&format!("postgres://chat:hunter2@{address}/chat?password=hunter2")).await;
}

#[tokio::test]
async fn a_server_that_is_silent_is_an_error_in_time() {
    // The kernel takes the connection; nobody ever answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_unreachable(&format!("postgres://chat:hunter2@{address}/chat")).await;
}

async fn assert_unreachable(url: &str) {
    let patience = Duration::from_millis(300);
    let config = DatabaseConfig { url: url.into(), acquire_timeout: patience, ..DatabaseConfig::default() };
    let started = Instant::now();
    let outcome = timeout(Duration::from_secs(20), open(&config)).await.expect("opening is bounded");
    let error = outcome.err().unwrap();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(started.elapsed() < patience * 20);
    let shown = format!("{error} {error:?} {:?}", error.source().map(ToString::to_string));
    assert!(shown.contains("chat:***@127.0.0.1"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
