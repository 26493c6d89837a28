//! Rooms that cannot go on do not hold up the others.

use std::time::Duration;

use chat_domain::{ChannelId, MessageId};
use chat_test_support::system::{Storage, System};
use rstest::rstest;
use tokio::time::Instant;

use crate::scene::Scene;
use crate::sql;
use crate::stock::Stock;
use crate::traffic::{Acknowledged, Load, Watcher, quantile};

/// More than an instance repairs at once.
const BROKEN: usize = 12;
const LIVE: usize = 4;
const INTERVAL: Duration = Duration::from_millis(20);
const LONG_ENOUGH: Duration = Duration::from_secs(3);
/// On a quiet machine it is about 20 ms. A room that waited for a broken one would wait for seconds.
const WORST_P99: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(15);

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_whose_repair_cannot_go_on_hold_up_nobody(#[case] storage: Storage) {
    let builder = System::builder()
        .storage(storage)
        .message_servers(2)
        .links()
        .message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0");
    let mut scene = Scene::start(builder).await;
    let (mut in_broken, broken) = listens_in_new_rooms(&scene, BROKEN).await;
    let (in_live, live) = listens_in_new_rooms(&scene, LIVE).await;
    let heard_server = scene.alice.api_at(scene.system.http_url(1));
    let create = "CREATE TABLE hidden_events AS SELECT * FROM channel_events WHERE channel_id = :channel AND 1 = 0";
    sql::execute(&scene.system, create, scene.channel).await;

    // The instance sees nothing until each broken room has an event that nobody can read, and one after it on the bus.
    scene.system.message_server(0).link_to_redis().unwrap().stall();
    scene.system.websocket_server(0).pause();
    let mut expected: Vec<MessageId> = Vec::new();
    for room in &broken {
        let lost = scene.alice.api.try_send(*room, "lost", &format!("lost-{room}")).await.unwrap();
        let seq = lost.body["seq"].as_u64().unwrap();
        let hide = format!(
            "INSERT INTO hidden_events SELECT * FROM channel_events WHERE channel_id = :channel AND seq = {seq};
             DELETE FROM channel_events WHERE channel_id = :channel AND seq = {seq};"
        );
        sql::execute(&scene.system, &hide, *room).await;
        expected.push(lost.body["messageId"].as_str().unwrap().parse().unwrap());
        expected.push(heard_server.send(*room, "after it").await);
    }
    scene.system.websocket_server(0).resume();

    let watcher = Watcher::start(in_live);
    let load = Load::start(std::slice::from_ref(&heard_server), &live, INTERVAL);
    let nothing = tokio::time::timeout(LONG_ENOUGH, in_broken.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    let delays = watcher.delays(&load.stop().await, DEADLINE).await;
    let part = |part| quantile(delays.iter().map(|(_, delay)| *delay), part);
    println!("{} messages beside {BROKEN} broken rooms: p50 {:?}, p99 {:?}", delays.len(), part(0.5), part(0.99));
    assert!(part(0.99) < WORST_P99, "{:?}", part(0.99));

    let watcher = Watcher::start(in_broken);
    sql::execute(&scene.system, "INSERT INTO channel_events SELECT * FROM hidden_events", scene.channel).await;
    let expected: Vec<_> = expected.into_iter().map(|message| Acknowledged { message, at: Instant::now() }).collect();
    watcher.delays(&expected, DEADLINE).await;
}

async fn listens_in_new_rooms(scene: &Scene, count: usize) -> (Stock, Vec<ChannelId>) {
    let mut session = scene.bob_listens().await;
    let rooms = scene.alice.api.create_public_channels(count).await;
    session.subscribe_to_all(&rooms).await;
    (session, rooms)
}
