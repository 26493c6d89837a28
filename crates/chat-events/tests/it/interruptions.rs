use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::harness::{Bus, DEADLINE, room};
use chat_events::{
    Topic,
    bus::{
        BusError, Delivery, Interruption, Publication,
        redis::{RedisConfig, RedisMetrics, RedisPublisher},
    },
};
use tokio_util::sync::CancellationToken;

pub(crate) async fn expect_lost_and_restored(bus: &mut Bus) {
    assert_eq!(bus.next().await, Delivery::Interrupted(Interruption::Lost));
    assert_eq!(bus.next().await, Delivery::Interrupted(Interruption::Restored));
}

/// Connections that break together may be noticed, and be back, one after the other.
async fn expect_mended(bus: &mut Bus, topics: &[Topic]) {
    for topic in topics {
        bus.until_heard(*topic).await;
    }
    let told = bus.take_told();
    let (first, last) = (told.first(), told.last());
    assert_eq!((first, last), (Some(&Interruption::Lost), Some(&Interruption::Restored)), "{told:?}");
}

pub(crate) async fn expect_heard(bus: &mut Bus, topic: Topic, text: &str) {
    bus.publish(topic, [text.into()]).await;
    assert_eq!(bus.next_text().await, (topic, text.to_owned()));
}

#[tokio::test]
async fn a_killed_connection_is_told_and_all_topics_are_heard_again() {
    let mut bus = Bus::redis(16_384, |_| {}).await;
    let topics = [1, 2, 3, 4].map(room);
    let mut interests = Vec::new();
    for topic in topics {
        interests.push(bus.listen(topic).await);
    }
    for _ in 0..5 {
        bus.server().execute(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        expect_mended(&mut bus, &topics).await;
    }
}

#[tokio::test]
async fn a_restarted_redis_is_told_and_heard_again() {
    let mut bus = Bus::redis(16_384, |_| {}).await;
    let _interest = bus.listen(room(1)).await;
    bus.server().restart().await;
    expect_mended(&mut bus, &[room(1)]).await;
}

#[tokio::test]
async fn publishing_while_redis_is_away_is_an_error_at_once() {
    let mut bus = Bus::redis(16_384, |_| {}).await;
    bus.server().kill();
    let refused = tokio::time::timeout(DEADLINE, async {
        while bus.publisher.ping().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bus.publisher.publish(Vec::new()).await.unwrap();
        let topic = room(1);
        bus.publisher.publish(vec![Publication { topic, payload: "x".into() }]).await
    });
    assert!(matches!(refused.await.unwrap(), Err(BusError::Unavailable(_))));
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed() {
    let mut bus = Bus::redis(16_384, |_| {}).await;
    let _interest = bus.listen(room(1)).await;
    bus.server().pause();
    assert_eq!(bus.next().await, Delivery::Interrupted(Interruption::Lost));
    bus.server().resume();
    assert_eq!(bus.next().await, Delivery::Interrupted(Interruption::Restored));
    expect_heard(&mut bus, room(1), "awake").await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_given_one_batch_and_no_more() {
    let mut bus = Bus::redis(16_384, |_| {}).await;
    let _interest = bus.listen(room(1)).await;
    bus.server().pause();
    // More than fits between the two, so that the client stands still while it writes.
    let payload = "x".repeat(64 * 1024);
    let large = || vec![Publication { topic: room(1), payload: payload.clone().into() }; 500];
    let started = Instant::now();
    assert!(matches!(bus.publisher.publish(large()).await, Err(BusError::Unavailable(_))));
    assert!(started.elapsed() < Duration::from_secs(4), "waited for {:?}", started.elapsed());
    let started = Instant::now();
    for _ in 0..20 {
        assert!(matches!(bus.publisher.publish(large()).await, Err(BusError::Unavailable(_))));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "waited again, for {:?}", started.elapsed());
    assert!(bus.publisher.ping().await.is_err());
    bus.server().resume();
    bus.until_reachable().await;
    bus.until_heard(room(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_receive_buffer_that_overruns_is_told() {
    let gate = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&gate);
    // The reading task stands still at the first payload, as if the machine had no time for it.
    let mut bus = Bus::redis(32, move |delivery| {
        while matches!(delivery, Delivery::Payload { .. }) && held.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    })
    .await;
    let _interest = bus.listen(room(1)).await;
    bus.publish(room(1), (0..1_000).map(|n| n.to_string())).await;
    bus.publisher.ping().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.store(false, Ordering::Relaxed);

    let (mut heard, mut lost) = (0, 0);
    while heard + lost < 1_000 {
        match bus.next().await {
            Delivery::Payload { .. } => heard += 1,
            Delivery::Interrupted(Interruption::Overrun(count)) => lost += count,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(lost > 0 && heard + lost == 1_000, "heard {heard}, told of {lost} lost");
}

#[tokio::test]
async fn foreign_topics_are_skipped() {
    let mut bus = Bus::redis(16_384, |_| {}).await;
    let _interest = bus.listen(room(1)).await;
    bus.server().execute(&["PUBLISH", "chat:room:none-of-ours", "x"]).await;
    bus.server().execute(&["PUBLISH", &room(1).to_string(), "own"]).await;
    assert_eq!(bus.next_text().await, (room(1), "own".into()));
}

#[test]
fn bad_addresses_are_named_without_their_password() {
    for url in [
        "http://127.0.0.1",
        "redis-ring://:secret-word@127.0.0.1:1",
        "redis-sentinel://:secret-word@127.0.0.1:1",
        "nonsense secret-word",
    ] {
        let config = RedisConfig { url: url.into(), ..RedisConfig::default() };
        let Err(error) = RedisPublisher::connect(&config, &RedisMetrics::default(), CancellationToken::new()) else {
            panic!("{url} was taken")
        };
        assert!(matches!(error, BusError::Address(_)));
        assert!(!error.to_string().contains("secret-word"), "{error}");
        assert!(!serde_json::to_string(&config).unwrap().contains("secret-word"));
    }
}

#[test]
fn values_out_of_bounds_are_named_with_what_is_allowed() {
    let usual = RedisConfig::default;
    usual().check().unwrap();
    for (config, expected) in [
        (
            RedisConfig { command_timeout: Duration::from_millis(99), ..usual() },
            "redis.command_timeout = 99ms; allowed: ",
        ),
        (RedisConfig { receive_buffer: 31, ..usual() }, "redis.receive_buffer = 31; allowed: 32 to "),
        (RedisConfig { subscriber_connections: 0, ..usual() }, "redis.subscriber_connections = 0; allowed: 1 to 16"),
        (RedisConfig { subscriber_connections: 17, ..usual() }, "redis.subscriber_connections = 17; allowed: 1 to 16"),
    ] {
        let error = config.check().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
