//! Storage freezes, dies or cannot be reached: what is in order goes on, no hole is skipped, everything catches up.

use std::time::Duration;

use chat_test_support::postgres::PostgresServer;
use chat_test_support::system::{Storage, System};
use chat_test_support::wait_for;
use tokio::time::{Instant, sleep_until, timeout};

use crate::scene::Scene;
use crate::stock::DEADLINE;
use crate::traffic::{Acknowledged, Load, Watcher};

/// What `http.request_timeout` is set to.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// What a loaded machine may add to it.
const MARGIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_storage_refuses_sends_and_ends_no_session() {
    let mut server = PostgresServer::start().await;
    let builder = System::builder()
        .database_at(server.url())
        .links()
        .message_setting("CHAT_HTTP_REQUEST_TIMEOUT", format!("{}s", REQUEST_TIMEOUT.as_secs()));
    let mut scene = Scene::start(builder).await;
    let watcher = Watcher::start(scene.bob_listens().await);

    // Published, and not yet heard when storage freezes: only the bus can bring these.
    scene.system.websocket_server(0).link_to_redis().unwrap().stall();
    let mut acknowledged = Vec::new();
    for number in 0..5 {
        let message = scene.alice.api.send(scene.channel, &number.to_string()).await;
        acknowledged.push(Acknowledged { message, at: Instant::now() });
    }
    server.pause();
    scene.system.websocket_server(0).link_to_redis().unwrap().mend();
    watcher.delays(&acknowledged, DEADLINE).await;

    for id in ["in-doubt-1", "in-doubt-2"] {
        let started = Instant::now();
        let refused = scene.alice.api.try_send(scene.channel, id, id).await.unwrap();
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
        assert!(started.elapsed() < REQUEST_TIMEOUT + MARGIN, "{:?}", started.elapsed());
    }
    assert_eq!(watcher.heard(), acknowledged.len());

    server.resume();
    // Whether they were stored was in doubt; now each is, once.
    for id in ["in-doubt-1", "in-doubt-2"] {
        let load = async || {
            let answer = scene.alice.api.try_send(scene.channel, id, id).await.unwrap();
            answer.status.is_success().then(|| answer.body["messageId"].as_str().unwrap().parse().unwrap())
        };
        let message = wait_for("the retry is taken", DEADLINE, load).await;
        acknowledged.push(Acknowledged { message, at: Instant::now() });
    }
    watcher.delays(&acknowledged, DEADLINE).await;
    assert_eq!(watcher.heard(), acknowledged.len());
}

const ROOMS: usize = 5;
const INTERVAL: Duration = Duration::from_millis(40);
const BEFORE: Duration = Duration::from_secs(1);
const AWAY: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_storage_loses_nothing_that_was_acknowledged() {
    let mut server = PostgresServer::start().await;
    let builder = System::builder()
        .database_at(server.url())
        .setting("CHAT_DATABASE_ACQUIRE_TIMEOUT", "1s")
        .message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0");
    let scene = Scene::start(builder).await;
    let mut bob = scene.bob_listens().await;
    let rooms = scene.alice.api.create_public_channels(ROOMS).await;
    bob.subscribe_to_all(&rooms).await;
    let watcher = Watcher::start(bob);
    let load = Load::start(std::slice::from_ref(&scene.alice.api), &rooms, INTERVAL);
    let began = Instant::now();

    sleep_until(began + BEFORE).await;
    server.kill();
    sleep_until(began + BEFORE + AWAY).await;
    server.restart().await;
    let back = Instant::now();
    sleep_until(back + BEFORE + AWAY).await;

    let acknowledged = load.stop().await;
    let taken_after = acknowledged.iter().filter(|one| one.at > back).map(|one| one.at - back).min();
    let delays = watcher.delays(&acknowledged, DEADLINE).await;
    let worst = delays.iter().map(|(_, delay)| *delay).max().unwrap();
    println!("{} messages, taken again {taken_after:?} after the return, worst delay {worst:?}", acknowledged.len());
    assert!(taken_after.is_some(), "nothing was taken after the return");
    assert_eq!(watcher.heard(), acknowledged.len());
}

#[tokio::test]
async fn no_hole_is_skipped_while_the_log_cannot_be_read() {
    let mut scene = Scene::start(System::builder().storage(Storage::Postgres).message_servers(2).links()).await;
    let mut bob = scene.bob_listens().await;
    let other = scene.alice.api.create_channel("PUBLIC", "other", &[]).await;
    bob.subscribe(other).await;
    scene.system.websocket_server(0).link_to_storage().unwrap().stall();
    scene.system.message_server(0).link_to_redis().unwrap().stall();
    let heard_server = scene.alice.api_at(scene.system.http_url(1));

    let mut expected = vec![scene.alice.api.send(scene.channel, "not published").await];
    for text in ["too early", "too early as well"] {
        expected.push(heard_server.send(scene.channel, text).await);
    }
    // The other room goes on meanwhile, and is all that is heard.
    for _ in 0..10 {
        let id = heard_server.send(other, "in order").await;
        assert_eq!(bob.expect("MESSAGE").await["messageId"], id.to_string());
    }
    let nothing = timeout(Duration::from_secs(1), bob.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");

    scene.system.websocket_server(0).link_to_storage().unwrap().mend();
    for id in expected {
        assert_eq!(bob.expect("MESSAGE").await["messageId"], id.to_string());
    }
    let id = heard_server.send(scene.channel, "live again").await;
    assert_eq!(bob.expect("MESSAGE").await["messageId"], id.to_string());
}
