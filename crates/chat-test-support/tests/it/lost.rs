//! Publications that never reach an instance.

use std::time::Duration;

use chat_test_support::proxy::TcpProxy;
use chat_test_support::system::{Storage, System};
use rstest::rstest;
use serde_json::json;
use tokio::time::Instant;

use crate::scene::{Scene, counter};
use crate::stock::Stock;
use crate::traffic::{Acknowledged, Watcher};

/// The promise for a message after which nothing comes that would show the hole.
const LAST_MESSAGE: Duration = Duration::from_secs(3);
const ROOMS: usize = 8;
/// The rooms' messages are lost at so many different moments of the interval between two comparisons.
const BETWEEN_ROOMS: Duration = Duration::from_millis(260);

#[rstest]
#[case::stalled_over_sqlite(Storage::Sqlite, TcpProxy::stall)]
#[case::stalled_over_postgres(Storage::Postgres, TcpProxy::stall)]
#[case::cut_over_sqlite(Storage::Sqlite, TcpProxy::cut)]
#[case::cut_over_postgres(Storage::Postgres, TcpProxy::cut)]
#[tokio::test]
async fn a_lost_last_message_comes_within_three_seconds(#[case] storage: Storage, #[case] lose: fn(&TcpProxy)) {
    let mut scene = Scene::start(System::builder().storage(storage).links()).await;
    let mut bob = scene.bob_listens().await;
    let rooms = scene.alice.api.create_public_channels(ROOMS).await;
    bob.subscribe_to_all(&rooms).await;
    // Before the loss, everything comes by the bus.
    let repaired = "chat_websocket_repaired_total";
    scene.goes_on().await;
    bob.expect("MESSAGE").await;
    assert_eq!(counter(scene.system.websocket_server(0), repaired).await, 0);

    let watcher = Watcher::start(bob);
    lose(scene.system.message_server(0).link_to_redis().unwrap());
    let mut acknowledged = Vec::new();
    for room in rooms {
        let message = scene.alice.api.send(room, "the last one").await;
        acknowledged.push(Acknowledged { message, at: Instant::now() });
        tokio::time::sleep(BETWEEN_ROOMS).await;
    }
    let delays = watcher.delays(&acknowledged, 2 * LAST_MESSAGE).await;
    let worst = delays.iter().map(|(_, delay)| *delay).max().unwrap();
    println!("lost last messages came after {worst:?} at most");
    assert!(worst < LAST_MESSAGE, "{delays:?}");
    assert_eq!(counter(scene.system.websocket_server(0), repaired).await, ROOMS as u64);
}

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test]
async fn a_publisher_killed_between_commit_and_publication_loses_and_repeats_nothing(#[case] storage: Storage) {
    let mut scene = Scene::start(System::builder().storage(storage).message_servers(2).links()).await;
    let mut bob = Stock::sign_in(&scene.url(), &scene.bob.token).await;
    let head = bob.subscribe(scene.channel).await["headSeq"].as_u64().unwrap();

    // The publication hangs on the way to Redis when the process dies.
    scene.system.message_server(0).link_to_redis().unwrap().stall();
    let first = scene.alice.api.try_send(scene.channel, "hello", "once").await.unwrap();
    assert_eq!(first.status, 201, "{}", first.body);
    scene.system.message_server(0).kill();

    let other = scene.alice.api_at(scene.system.http_url(1));
    let retry = other.try_send(scene.channel, "hello", "once").await.unwrap();
    assert_eq!(retry.status, 200, "{}", retry.body);
    assert_eq!((&retry.body["messageId"], &retry.body["seq"]), (&first.body["messageId"], &first.body["seq"]));

    let heard = bob.expect("MESSAGE").await;
    assert_eq!((&heard["messageId"], &heard["seq"]), (&first.body["messageId"], &json!(head + 1)));
    let next = other.send(scene.channel, "next").await;
    let heard = bob.expect("MESSAGE").await;
    assert_eq!((&heard["messageId"], &heard["seq"]), (&json!(next), &json!(head + 2)));
}
