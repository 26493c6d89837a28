use std::time::Instant;

use chat_events::bus::Delivery;
use rstest::rstest;

use crate::harness::{Bus, DEADLINE, Kind, LINGER, room};

#[rstest]
#[tokio::test]
async fn what_is_published_is_heard_in_order(
    #[values(Kind::Memory, Kind::Redis, Kind::Sentinel, Kind::Cluster)] kind: Kind,
) {
    let mut bus = Bus::start(kind).await;
    let _interest = bus.listen(room(1)).await;
    bus.publish(room(1), (0..2_000).map(|n| n.to_string())).await;
    for n in 0..2_000 {
        assert_eq!(bus.next_text().await, (room(1), n.to_string()));
    }
}

#[rstest]
#[tokio::test]
async fn other_topics_are_not_heard(#[values(Kind::Memory, Kind::Redis, Kind::Cluster)] kind: Kind) {
    let mut bus = Bus::start(kind).await;
    let _interest = bus.listen(room(1)).await;
    let other = bus.neighbour_of(room(1)).await;
    bus.publish(other, ["foreign".into()]).await;
    bus.publish(room(1), ["own".into()]).await;
    assert_eq!(bus.next_text().await, (room(1), "own".into()));
}

#[rstest]
#[tokio::test]
async fn many_interests_in_one_topic_hear_each_payload_once(
    #[values(Kind::Memory, Kind::Redis, Kind::Cluster)] kind: Kind,
) {
    let mut bus = Bus::start(kind).await;
    let first = bus.listen(room(1)).await;
    let _second = bus.listen(room(1)).await;
    drop(first);
    bus.publish(room(1), ["a".into(), "b".into()]).await;
    assert_eq!(bus.next_text().await.1, "a");
    assert_eq!(bus.next_text().await.1, "b");
}

#[rstest]
#[tokio::test]
async fn a_topic_lingers_and_then_is_not_heard_any_more(
    #[values(Kind::Memory, Kind::Redis, Kind::Cluster)] kind: Kind,
) {
    let mut bus = Bus::start(kind).await;
    let control = bus.neighbour_of(room(1)).await;
    let _control = bus.listen(control).await;
    drop(bus.listen(room(1)).await);
    let dropped = Instant::now();
    bus.publish(room(1), ["lingering".into()]).await;
    if dropped.elapsed() < LINGER {
        assert_eq!(bus.next_text().await, (room(1), "lingering".into()));
    }

    // Each round publishes to both; when only the control is heard, the topic is not subscribed any more.
    loop {
        assert!(dropped.elapsed() < DEADLINE, "the topic is still heard");
        bus.publish(room(1), ["late".into()]).await;
        bus.publish(control, ["control".into()]).await;
        let mut late = false;
        loop {
            match bus.next_text().await {
                (topic, _) if topic == control => break,
                (_, text) => late |= text == "late",
            }
        }
        if !late {
            break;
        }
        tokio::time::sleep(LINGER / 10).await;
    }
    assert!(dropped.elapsed() >= LINGER);
}

#[rstest]
#[tokio::test]
async fn who_comes_back_is_heard_again(#[values(Kind::Memory, Kind::Redis, Kind::Cluster)] kind: Kind) {
    let mut bus = Bus::start(kind).await;
    for round in 0..5 {
        let interest = bus.listen(room(1)).await;
        bus.publish(room(1), [round.to_string()]).await;
        assert_eq!(bus.next_text().await, (room(1), round.to_string()));
        drop(interest);
        if round % 2 == 1 {
            tokio::time::sleep(LINGER * 2).await;
        }
    }
}

#[rstest]
#[tokio::test]
async fn thousands_of_topics_are_heard(#[values(Kind::Memory, Kind::Redis, Kind::Cluster)] kind: Kind) {
    let mut bus = Bus::start(kind).await;
    let interests: Vec<_> = (0..5_000).map(|n| bus.subscriber.interest(room(n))).collect();
    for interest in &interests {
        tokio::time::timeout(DEADLINE, interest.heard()).await.expect("each topic is heard in time");
    }
    for n in (0..5_000).step_by(499) {
        bus.publish(room(n), [n.to_string()]).await;
        assert_eq!(bus.next().await, Delivery::Payload { topic: room(n), payload: n.to_string().into() });
    }
}

#[tokio::test]
async fn topics_are_shared_between_connections() {
    const TOPICS: u32 = 200;
    let mut bus = Bus::start(Kind::Redis).await;
    let mut interests = Vec::new();
    for n in 0..TOPICS {
        interests.push(bus.listen(room(n)).await);
    }
    let clients = bus.server().execute(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    let subscriptions = clients.lines().filter_map(|line| line.split(" sub=").nth(1)?.split(' ').next()?.parse().ok());
    let subscriptions: Vec<u32> = subscriptions.collect();
    assert_eq!(subscriptions.iter().sum::<u32>(), TOPICS, "each topic is on one connection only");
    assert!(subscriptions.len() > 1 && subscriptions.iter().all(|count| *count > TOPICS / 4), "{subscriptions:?}");
}
