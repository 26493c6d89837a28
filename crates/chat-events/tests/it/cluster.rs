//! In a Cluster each node has its own topics, and its own troubles.

use std::time::{Duration, Instant};

use chat_events::{
    Topic,
    bus::{BusError, Delivery, Interest, Interruption, Publication},
};

use crate::{
    harness::{Bus, DEADLINE, room},
    interruptions::{expect_heard, expect_lost_and_restored},
};

/// A topic of each node, all heard.
async fn listen_everywhere(bus: &mut Bus) -> ([Topic; 3], Vec<Interest>) {
    let mut topics = [None; 3];
    for n in 0.. {
        let owner = bus.nodes().owner_of(&room(n).to_string()).await;
        topics[owner].get_or_insert(room(n));
        if let [Some(first), Some(second), Some(third)] = topics {
            let interests = vec![bus.listen(first).await, bus.listen(second).await, bus.listen(third).await];
            return ([first, second, third], interests);
        }
    }
    unreachable!("each node has some of the topics")
}

/// Whether a payload of this topic can be sent, heard or not.
async fn publish_one(bus: &Bus, topic: Topic) -> Result<(), BusError> {
    bus.publisher.publish(vec![Publication { topic, payload: "x".into() }]).await
}

#[tokio::test]
async fn a_killed_node_takes_only_its_own_topics_with_it() {
    let mut bus = Bus::cluster().await;
    let (topics, _interests) = listen_everywhere(&mut bus).await;
    bus.nodes().node(1).kill();
    assert_eq!(bus.next().await, Delivery::Interrupted(Interruption::Lost));
    let refused = tokio::time::timeout(DEADLINE, async {
        while publish_one(&bus, topics[1]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    refused.await.expect("publishing to a dead node is an error soon");
    for _ in 0..20 {
        expect_heard(&mut bus, topics[0], "alive").await;
        expect_heard(&mut bus, topics[2], "alive").await;
    }
    // The living part of a batch goes out although the rest cannot.
    let batch = topics.map(|topic| Publication { topic, payload: "partly".into() });
    assert!(matches!(bus.publisher.publish(batch.into()).await, Err(BusError::Unavailable(_))));
    let mut heard = [bus.next_text().await.0, bus.next_text().await.0];
    heard.sort_by_key(|topic| topics.iter().position(|other| other == topic));
    assert_eq!(heard, [topics[0], topics[2]]);
    assert!(bus.publisher.ping().await.is_err());

    bus.nodes().node(1).restart().await;
    assert_eq!(bus.next().await, Delivery::Interrupted(Interruption::Restored));
    bus.until_reachable().await;
    for topic in topics {
        bus.until_heard(topic).await;
    }
}

#[tokio::test]
async fn a_node_that_hangs_is_noticed_and_holds_up_no_other() {
    let mut bus = Bus::cluster().await;
    let (topics, _interests) = listen_everywhere(&mut bus).await;
    let another = another_room_of(&mut bus, 2).await;
    bus.nodes().node(0).pause();
    let paused = Instant::now();
    let mut delays = Vec::new();
    loop {
        let published = Instant::now();
        let batch = [topics[0], topics[1]].map(|topic| Publication { topic, payload: "x".into() });
        assert!(bus.publisher.publish(batch.into()).await.is_err(), "a node that hangs took a publication");
        match bus.next().await {
            Delivery::Payload { topic, .. } => assert_eq!(topic, topics[1]),
            told => {
                assert_eq!(told, Delivery::Interrupted(Interruption::Lost));
                break;
            }
        }
        delays.push(published.elapsed());
    }
    assert!(paused.elapsed() < Duration::from_secs(6), "noticed only after {:?}", paused.elapsed());
    delays.sort();
    let (median, slowest) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    assert!(slowest < Duration::from_secs(1), "another node was held up for {slowest:?}");
    assert!(median < Duration::from_millis(100), "another node was held up again and again, for {median:?}");
    assert_eq!(bus.next_text().await.0, topics[1], "what was on its way");
    let _interest = bus.listen(another).await;
    expect_heard(&mut bus, another, "a new topic of another node").await;

    bus.nodes().node(0).resume();
    loop {
        match bus.next().await {
            Delivery::Payload { topic, .. } => assert_eq!(topic, topics[0], "what it was given while it hung"),
            told => break assert_eq!(told, Delivery::Interrupted(Interruption::Restored)),
        }
    }
    bus.nodes().until_ok().await;
    bus.until_heard(topics[0]).await;
}

async fn another_room_of(bus: &mut Bus, node: usize) -> Topic {
    for n in 1_000.. {
        if bus.nodes().owner_of(&room(n).to_string()).await == node {
            return room(n);
        }
    }
    unreachable!("each node has some of the topics")
}

#[tokio::test]
async fn a_killed_connection_of_one_node_is_told_and_its_topics_are_heard_again() {
    let mut bus = Bus::cluster().await;
    let (topics, _interests) = listen_everywhere(&mut bus).await;
    for node in [0, 1, 2, 0, 1, 2] {
        bus.nodes().node(node).execute(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        expect_lost_and_restored(&mut bus).await;
        for topic in topics {
            expect_heard(&mut bus, topic, "again").await;
        }
    }
}

#[tokio::test]
async fn a_topic_whose_slot_moves_is_told_and_heard_at_its_new_node() {
    let mut bus = Bus::cluster().await;
    let (topics, _interests) = listen_everywhere(&mut bus).await;
    for to in [1, 2, 0] {
        bus.nodes().move_slot_of(&topics[0].to_string(), to).await;
        bus.until_heard(topics[0]).await;
        assert_eq!(bus.take_told(), [Interruption::Lost, Interruption::Restored]);
        assert_eq!(bus.nodes().owner_of(&topics[0].to_string()).await, to);
        for topic in topics {
            expect_heard(&mut bus, topic, "after the move").await;
        }
    }
}

#[tokio::test]
async fn a_topic_whose_slot_goes_and_comes_back_unseen_is_heard_again() {
    let mut bus = Bus::cluster().await;
    let (topics, _interests) = listen_everywhere(&mut bus).await;
    let topic = topics[0].to_string();
    let slot = slot_of(&mut bus, &topic).await;
    for owner in [1, 0] {
        let id = bus.nodes().node(owner).execute(&["CLUSTER", "MYID"]).await.lines().nth(1).unwrap().to_owned();
        // Only the owner believes it, and for so short a time that nobody asks it meanwhile.
        let told = bus.nodes().node(0).execute(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await;
        assert_eq!(told, "+OK\r\n");
    }
    bus.until_heard(topics[0]).await;
}

#[tokio::test]
async fn a_slot_without_an_owner_is_told_until_it_has_one_and_is_heard() {
    let mut bus = Bus::cluster().await;
    let (topics, _interests) = listen_everywhere(&mut bus).await;
    let topic = topics[0].to_string();
    let slot = slot_of(&mut bus, &topic).await;
    for node in 0..3 {
        assert_eq!(bus.nodes().node(node).execute(&["CLUSTER", "DELSLOTS", &slot]).await, "+OK\r\n");
    }
    assert_eq!(bus.next().await, Delivery::Interrupted(Interruption::Lost));
    expect_heard(&mut bus, topics[1], "another slot").await;

    // To a node that is connected already.
    bus.nodes().move_slot_of(&topic, 2).await;
    assert_eq!(bus.next().await, Delivery::Interrupted(Interruption::Restored));
    let subscribed = bus.nodes().node(2).execute(&["PUBSUB", "SHARDNUMSUB", &topic]).await;
    assert!(subscribed.ends_with(":1\r\n"), "told too early: {subscribed}");
    bus.until_heard(topics[0]).await;
}

async fn slot_of(bus: &mut Bus, topic: &str) -> String {
    let slot = bus.nodes().node(0).execute(&["CLUSTER", "KEYSLOT", topic]).await;
    slot.trim_start_matches(':').trim_end().to_owned()
}

#[tokio::test]
async fn thousands_of_topics_are_subscribed_and_subscribed_again_in_no_time() {
    let mut bus = Bus::cluster().await;
    let started = Instant::now();
    let interests: Vec<_> = (0..10_000).map(|n| bus.subscriber.interest(room(n))).collect();
    for interest in &interests {
        tokio::time::timeout(DEADLINE, interest.heard()).await.expect("each topic is heard in time");
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    bus.nodes().node(0).execute(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    let killed = Instant::now();
    expect_lost_and_restored(&mut bus).await;
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
}
