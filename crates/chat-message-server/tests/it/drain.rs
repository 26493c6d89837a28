//! Stopping while requests come in.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use chat_events::Topic;
use chat_test_support::wait_until;
use common_server::Ending;
use reqwest::Method;
use rstest::rstest;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::world::{DEADLINE, Kind, World, answer, code_of, get, text};

/// Whoever was answered 201 was heard, and nobody's accepted request was left without an answer.
#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_nothing(#[case] kind: Kind) {
    const SENDERS: usize = 16;
    let world = Arc::new(World::new(kind).await);
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let ear = world.hear(Topic::Room(channel)).await;
    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();

    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (alice, acknowledged) = (alice.clone(), acknowledged.clone());
        senders.spawn(async move {
            // Until the server is gone: then there is no connection any more.
            while let Ok(answer) = alice.try_call(Method::POST, "/api/v1/messages", Some(text(channel, "x"))).await {
                assert_eq!(answer.status.as_u16(), 201, "{}", code_of(&answer));
                acknowledged.lock().unwrap().insert(answer.body["messageId"].as_str().unwrap().to_owned());
            }
        });
    }
    wait_until("the load is on", DEADLINE, async || acknowledged.lock().unwrap().len() > 100).await;
    assert_eq!(world.end().await, Ending::Drained);
    while let Some(ended) = senders.join_next().await {
        ended.unwrap();
    }

    let acknowledged = acknowledged.lock().unwrap().clone();
    let published = ear.payloads(acknowledged.len()).await;
    let mut seqs = Vec::new();
    let mut heard = BTreeSet::new();
    for payload in &published {
        let event: Value = serde_json::from_str(payload).unwrap();
        seqs.push(event["seq"].as_u64().unwrap());
        heard.insert(event["messageId"].as_str().unwrap().to_owned());
    }
    assert_eq!(seqs, (1..=published.len() as u64).collect::<Vec<_>>(), "in order, no hole");
    assert!(acknowledged.is_subset(&heard), "acknowledged but not published");
}

/// With Redis away, sending goes on; what could not be published is counted.
#[tokio::test]
async fn sending_does_not_need_redis() {
    let mut world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    world.redis.kill();

    for _ in 0..5 {
        alice.send(channel, "x").await;
    }
    assert_eq!(get(&alice, &format!("/api/v1/channels/{channel}/events")).await["headSeq"], 5);
    wait_until("failures are counted", DEADLINE, async || !world.metrics().contains("chat_publish_failures_total 0"))
        .await;

    world.redis.restart().await;
    let ear = world.hear(Topic::Room(channel)).await;
    wait_until("publishing works again", DEADLINE, async || {
        alice.send(channel, "again").await;
        tokio::time::timeout(Duration::from_millis(200), ear.payloads(1)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_has_its_message_sent_all_the_same() {
    let world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let lock = crate::overload::SqliteLock::take(&world.database_url).await;

    let request = world.request("alice", Method::POST, "/api/v1/messages").json(&text(channel, "x"));
    let gone = tokio::time::timeout(Duration::from_millis(200), answer(request)).await;
    assert!(gone.is_err(), "the commit had to wait for the lock");
    lock.release().await;

    wait_until("the message is in the log", DEADLINE, async || alice.events(channel, 0, 10).await.len() == 1).await;
}
