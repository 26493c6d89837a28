//! Stopping while requests come in.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use chat_events::Topic;
use chat_message_server::Config;
use chat_test_support::wait_until;
use common_auth::Role;
use common_server::Ending;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    overload::SqliteLock,
    world::{DEADLINE, Kind, World, answer, code_of, get, refused, text},
};

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
    let lock = SqliteLock::take(&world.database_url).await;

    let request = world.request("alice", Method::POST, "/api/v1/messages").json(&text(channel, "x"));
    let gone = tokio::time::timeout(Duration::from_millis(200), answer(request)).await;
    assert!(gone.is_err(), "the commit had to wait for the lock");
    lock.release().await;

    wait_until("the message is in the log", DEADLINE, async || alice.events(channel, 0, 10).await.len() == 1).await;
}

/// Who is brought into a channel, or whose status changes, is told, also if the server has given up the request before it
/// was committed.
#[tokio::test]
async fn signals_outlive_the_request() {
    let world = World::with(Kind::Sqlite, |config| config.http.request_timeout = Duration::from_millis(300)).await;
    let (alice, admin) = (world.user("alice"), world.with_roles("admin", &[Role::Admin]));
    let (_, _, bob) = (alice.my_id().await, admin.my_id().await, world.user("bob").my_id().await);
    let ear = world.hear(Topic::User(bob)).await;
    let direct = json!({"type": "DIRECT", "memberIds": [bob]});
    let suspended = json!({"status": "SUSPENDED"});

    let lock = SqliteLock::take(&world.database_url).await;
    refused(&alice, Method::POST, "/api/v1/channels", Some(direct), (503, "TIMEOUT")).await;
    lock.release().await;
    assert!(ear.payloads(1).await[0].contains("CHANNEL_ADDED"));

    let lock = SqliteLock::take(&world.database_url).await;
    let path = format!("/api/v1/admin/users/{bob}");
    refused(&admin, Method::PATCH, &path, Some(suspended), (503, "TIMEOUT")).await;
    lock.release().await;
    assert!(ear.payloads(2).await[1].contains("USER_STATUS_CHANGED"));
}

/// What is broken when the server is told to stop.
#[derive(Clone, Copy, Debug)]
enum Broken {
    BusAway,
    BusHangs,
    StorageHangs,
}

/// The end comes in time, whatever is broken, and whoever was answered 201 finds the message in the log.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_in_time_whatever_is_broken(
    #[values(Broken::BusAway, Broken::BusHangs, Broken::StorageHangs)] broken: Broken,
) {
    const SENDERS: usize = 8;
    const DRAIN: Duration = Duration::from_secs(4);
    let (mut world, to_storage) = World::behind_proxy(|config| config.process.drain = DRAIN).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (alice, acknowledged) = (alice.clone(), acknowledged.clone());
        senders.spawn(async move {
            while let Ok(answer) = alice.try_call(Method::POST, "/api/v1/messages", Some(text(channel, "x"))).await {
                if answer.status.as_u16() == 201 {
                    acknowledged.lock().unwrap().insert(answer.body["messageId"].as_str().unwrap().to_owned());
                }
            }
        });
    }
    wait_until("the load is on", DEADLINE, async || acknowledged.lock().unwrap().len() > 50).await;
    match broken {
        Broken::BusAway => world.redis.kill(),
        Broken::BusHangs => world.redis.pause(),
        Broken::StorageHangs => to_storage.stall(),
    }
    let before = acknowledged.lock().unwrap().len();
    if !matches!(broken, Broken::StorageHangs) {
        wait_until("sending goes on", DEADLINE, async || acknowledged.lock().unwrap().len() > before + 50).await;
    }

    let started = Instant::now();
    let ending = world.end().await;
    if !matches!(broken, Broken::StorageHangs) {
        assert_eq!(ending, Ending::Drained, "what waits for the bus is dropped");
    }
    // Beside the drain time: what is left is dropped, and connections are given back.
    let took = started.elapsed();
    assert!(took < DRAIN + Duration::from_secs(5), "{broken:?}: {took:?}");
    senders.join_all().await;

    to_storage.mend();
    let log = world.logged(channel).await;
    let missing: Vec<_> = acknowledged.lock().unwrap().iter().filter(|id| !log.contains(*id)).cloned().collect();
    assert_eq!(missing, [""; 0], "acknowledged and not in the log");
}

/// While Redis hangs nobody waits for it: what does not fit into the queue is dropped and counted. What is published once it
/// is back has the order of the log.
#[tokio::test]
async fn a_bus_that_hangs_slows_no_send_and_is_given_what_is_left_in_order() {
    const MESSAGES: usize = 100;
    let configure = |config: &mut Config| {
        config.limits.publish_queue = 16;
        config.redis.command_timeout = Duration::from_secs(5);
    };
    let mut world = World::with(Kind::Sqlite, configure).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let ear = world.hear(Topic::Room(channel)).await;
    alice.send(channel, "before").await;
    ear.payloads(1).await;

    world.redis.pause();
    let started = Instant::now();
    for _ in 0..MESSAGES {
        alice.send(channel, "x").await;
    }
    assert!(started.elapsed() < Duration::from_secs(5), "less than one command's timeout: {:?}", started.elapsed());
    assert!(world.counter("chat_publish_failures_total") > 50);
    world.redis.resume();

    wait_until("publishing works again", DEADLINE, async || {
        let id = alice.send(channel, "after").await;
        tokio::time::timeout(Duration::from_millis(200), ear.heard(&id.to_string())).await.is_ok()
    })
    .await;
    let seqs: Vec<_> = ear.payloads(1).await.iter().map(|payload| seq(payload)).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
}

fn seq(payload: &str) -> u64 {
    serde_json::from_str::<Value>(payload).unwrap()["seq"].as_u64().unwrap()
}
