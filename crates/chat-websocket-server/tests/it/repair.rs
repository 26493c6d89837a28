//! A room that has to read the log: a lot of it, for nothing, or without there being one.

use chat_domain::{
    ChannelId,
    ports::{Access, Head},
};
use chat_events::{
    Topic,
    bus::{Publication, Publisher},
};
use chat_test_support::{wait_for, wait_until};
use chat_websocket_server::protocol::CloseReason;
use tokio::time::{Duration, interval};

use crate::world::{AT, DEADLINE, Returning, World, frame};

const SESSIONS: usize = 100;
const MISSED: u64 = 5_000;

#[tokio::test]
async fn a_long_repair_waits_for_sessions_that_write_and_not_for_one_that_does_not() {
    let world = World::new().await;
    let mut sessions = Vec::new();
    for _ in 0..=SESSIONS {
        let session = world.session(world.bob);
        world.join(&session, world.access(world.bob).await, None);
        session.until("SUBSCRIBED").await;
        sessions.push(Returning::new(session, 0, MISSED));
    }
    let stuck = sessions.pop().unwrap().session;

    world.send_many(world.channel, usize::try_from(MISSED).unwrap() - 1).await;
    world.send(true).await;

    // As slow as an instance that has much to do: between two rounds the room could read all it has missed.
    let mut rounds = interval(Duration::from_millis(100));
    while sessions.iter().any(|session| session.last < MISSED) {
        rounds.tick().await;
        sessions.iter_mut().for_each(|session| {
            session.take();
        });
    }
    assert_eq!(stuck.handle.outbox.closed(), Some(CloseReason::SlowConsumer));
    assert_eq!(world.metrics.repaired.get(), MISSED);
}

#[tokio::test]
async fn a_forged_event_costs_one_read_and_changes_nothing() {
    let world = World::new().await;
    let alice = world.session(world.alice);
    world.join(&alice, world.access(world.alice).await, None);
    alice.until("SUBSCRIBED").await;
    let forged = format!(r#"{{"type":"MESSAGE","channelId":"{}","seq":{}}}"#, world.channel, u64::MAX);
    let forged = Publication { topic: Topic::Room(world.channel), payload: forged.into_bytes().into() };

    world.bus.publish(vec![forged]).await.unwrap();
    wait_until("the log is read", DEADLINE, async || world.metrics.disproved.get() == 1).await;
    assert_eq!(world.metrics.held_bytes.get(), 0);
    let real = world.send(true).await;

    assert_eq!(alice.until("MESSAGE").await, [frame("MESSAGE", real)]);
    assert_eq!(world.metrics.repair_reads.get(), 1);
}

#[tokio::test]
async fn who_joins_a_channel_that_is_not_there_any_more_is_sent_away() {
    let world = World::new().await;
    let access = world.access(world.alice).await;
    let gone = Access { head: Head { channel_id: ChannelId::new(AT), ..access.head }, ..access };
    let alice = world.session(world.alice);

    world.join(&alice, gone, None);

    let closed = wait_for("the end of the session", DEADLINE, async || alice.handle.outbox.closed()).await;
    assert_eq!(closed, CloseReason::TryAgainLater);
    wait_until("the room ends", DEADLINE, async || world.directory.rooms().is_empty()).await;
}
