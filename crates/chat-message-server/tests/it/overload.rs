//! A store that does not keep up, or is away.

use std::time::Duration;

use chat_test_support::wait_until;
use reqwest::Method;
use sqlx::{Connection, Executor, SqliteConnection};
use tokio::time::Instant;

use crate::world::{DEADLINE, Kind, World, get, refused, text};

const MESSAGES: &str = "/api/v1/messages";

/// Keeps every other process from writing, as a long transaction of another program would.
pub(crate) struct SqliteLock(SqliteConnection);

impl SqliteLock {
    pub(crate) async fn take(url: &str) -> Self {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        Self(connection)
    }

    pub(crate) async fn release(mut self) {
        self.0.execute("ROLLBACK").await.unwrap();
        self.0.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_reading_goes_on() {
    let world = World::with(Kind::Sqlite, |config| config.database.acquire_timeout = Duration::from_millis(200)).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let lock = SqliteLock::take(&world.database_url).await;

    let answer = refused(&alice, Method::POST, MESSAGES, Some(text(channel, "x")), (503, "STORAGE_UNAVAILABLE")).await;
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(!answer.body.to_string().to_lowercase().contains("sqlite"), "{}", answer.body);
    get(&alice, &format!("/api/v1/channels/{channel}/messages")).await;

    lock.release().await;
    alice.send(channel, "again").await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let world = World::with(Kind::Sqlite, |config| config.http.request_timeout = Duration::from_millis(200)).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let lock = SqliteLock::take(&world.database_url).await;

    let answer = refused(&alice, Method::POST, MESSAGES, Some(text(channel, "x")), (503, "TIMEOUT")).await;
    assert_eq!(answer.headers["retry-after"], "1");
    lock.release().await;
}

#[tokio::test]
async fn a_full_queue_is_told_at_once() {
    let world = World::with(Kind::Sqlite, |config| config.limits.append_queue = 1).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let lock = SqliteLock::take(&world.database_url).await;

    // One is at the store, one waits, and there is room for no other.
    let send = || {
        let alice = alice.clone();
        tokio::task::JoinSet::from_iter([async move {
            alice.call(Method::POST, MESSAGES, Some(text(channel, "x"))).await.status.as_u16()
        }])
    };
    let mut accepted = send();
    let mut waiting = send();
    wait_until("the queue is full", DEADLINE, async || {
        if world.metrics().contains("chat_append_queue_depth 1") {
            return true;
        }
        if waiting.try_join_next().is_some() {
            waiting = send();
        }
        false
    })
    .await;
    let answer = refused(&alice, Method::POST, MESSAGES, Some(text(channel, "x")), (503, "OVERLOADED")).await;
    assert_eq!(answer.headers["retry-after"], "1");

    lock.release().await;
    assert_eq!(accepted.join_next().await.unwrap().unwrap(), 201);
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), 201);
}

#[tokio::test]
async fn a_broken_database_connection_mends_itself() {
    let world = World::new(Kind::Postgres).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    world.cut_database().await;

    wait_until("sending works again", DEADLINE, async || {
        let answer = alice.call(Method::POST, MESSAGES, Some(text(channel, "x"))).await;
        assert!(matches!(answer.status.as_u16(), 201 | 503), "{}", answer.body);
        answer.status.as_u16() == 201
    })
    .await;
}

/// A database that does not answer at all, behind connections that stay open: every request is answered in a bounded time,
/// and when the database is back, so is the server.
#[tokio::test]
async fn a_store_that_hangs_is_503_for_all_within_the_time_of_a_request() {
    const LONGEST: Duration = Duration::from_secs(2);
    let (world, to_storage) = World::behind_proxy(|config| config.http.request_timeout = LONGEST).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let message = alice.send(channel, "x").await;
    to_storage.stall();

    let path = |rest: &str| format!("/api/v1/channels/{channel}{rest}");
    let requests = [
        (Method::POST, MESSAGES.to_owned(), Some(text(channel, "x"))),
        (Method::POST, "/api/v1/channels".to_owned(), Some(serde_json::json!({"type": "PUBLIC", "name": "other"}))),
        (Method::PATCH, path(""), Some(serde_json::json!({"name": "new"}))),
        (Method::GET, path(""), None),
        (Method::GET, path("/messages"), None),
        (Method::GET, path("/events"), None),
        (Method::GET, format!("{MESSAGES}/{message}"), None),
        (Method::GET, format!("/api/v1/users/{}", crate::world::nobody()), None),
    ];
    let started = Instant::now();
    let answers = futures_util::future::join_all(
        requests.into_iter().map(async |(method, path, body)| alice.call(method, &path, body).await),
    );
    for answer in answers.await {
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert!(started.elapsed() < 2 * LONGEST, "{:?}", started.elapsed());

    to_storage.mend();
    wait_until("sending works again", 3 * DEADLINE, async || {
        alice.call(Method::POST, MESSAGES, Some(text(channel, "again"))).await.status == 201
    })
    .await;
}
