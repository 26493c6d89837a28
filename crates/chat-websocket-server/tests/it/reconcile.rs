//! What the bus was silent about is found in storage.

use std::{sync::Arc, time::Duration};

use chat_events::bus::{Delivery, Interruption};
use chat_test_support::wait_until;
use chat_websocket_server::{pace::Intervals, protocol::CloseReason, reconcile};
use tokio::{task::JoinSet, time::Instant};

use crate::world::{DEADLINE, Session, World, frame};

const NEVER: Duration = Duration::from_secs(3_600);

/// Compares heads, at this interval, until it is dropped.
fn reconcile(world: &World, interval: Duration) -> JoinSet<()> {
    let intervals = Intervals { with_bus: interval, without_bus: interval };
    let (directory, storage) = (Arc::clone(&world.directory), Arc::clone(&world.storage));
    let mut task = JoinSet::new();
    task.spawn(reconcile::run(directory, storage, Arc::clone(&world.metrics), intervals));
    task
}

/// Two rooms with a session each, and in each of them an event that nobody heard of.
async fn two_rooms_with_a_loss(world: &World) -> [Session; 2] {
    let other = world.channel_with(1).await;
    let mut sessions = Vec::new();
    for channel in [world.channel, other] {
        let session = world.session(world.alice);
        world.join(&session, world.access_to(channel, world.alice).await, None);
        session.until("SUBSCRIBED").await;
        world.send_many(channel, 1).await;
        sessions.push(session);
    }
    sessions.try_into().ok().unwrap()
}

#[tokio::test]
async fn a_lost_last_event_is_delivered() {
    let world = World::new().await;
    let [alice, other] = two_rooms_with_a_loss(&world).await;
    let _task = reconcile(&world, Duration::from_millis(100));
    assert_eq!(alice.until("MESSAGE").await, [frame("MESSAGE", 1)]);
    assert_eq!(other.until("MESSAGE").await, [frame("MESSAGE", 2)]);
}

#[tokio::test]
async fn a_lost_last_event_is_delivered_however_often_others_are_in_doubt() {
    let world = World::new().await;
    let [alice, _] = two_rooms_with_a_loss(&world).await;
    let mut tasks = reconcile(&world, Duration::from_millis(200));
    let wishes = Arc::clone(&world.directory.compare_heads);
    tasks.spawn(async move {
        let mut often = tokio::time::interval(Duration::from_millis(20));
        loop {
            often.tick().await;
            wishes.notify_one();
        }
    });
    assert_eq!(alice.until("MESSAGE").await, [frame("MESSAGE", 1)]);
}

/// As after storage was restored from a time before there was the channel.
#[tokio::test]
async fn who_is_in_a_channel_that_is_not_there_any_more_is_sent_away() {
    let (world, older) = (World::new().await, World::new().await);
    let alice = world.session(world.alice);
    world.join(&alice, world.access(world.alice).await, None);
    alice.until("SUBSCRIBED").await;

    let interval = Duration::from_millis(20);
    let (directory, metrics) = (Arc::clone(&world.directory), Arc::clone(&world.metrics));
    let intervals = Intervals { with_bus: interval, without_bus: interval };
    let mut task = JoinSet::new();
    task.spawn(reconcile::run(directory, Arc::clone(&older.storage), metrics, intervals));

    wait_until("it is sent away", DEADLINE, async || alice.handle.outbox.closed() == Some(CloseReason::TryAgainLater))
        .await;
}

#[tokio::test]
async fn when_one_room_loses_payloads_it_is_compared_alone() {
    let world = World::new().await;
    let [alice, other] = two_rooms_with_a_loss(&world).await;
    // The bus is there, so that nothing else is compared.
    world.directory.deliver(Delivery::Interrupted(Interruption::Restored), &world.metrics);
    let _task = reconcile(&world, NEVER);
    alice.until("MESSAGE").await;
    other.until("MESSAGE").await;
    wait_until("the first comparison ends", DEADLINE, async || world.metrics.heads_compared.get() == 2).await;

    world.send_many(world.channel, 1).await;
    let rooms = world.directory.rooms();
    let (_, room) = rooms.iter().find(|(channel, _)| *channel == world.channel).unwrap();
    // More than the room can take in before its task has its turn.
    (0..2_000).for_each(|_| room.inbox.publish(b"not an event"));

    alice.until("MESSAGE").await;
    assert_eq!(world.metrics.heads_compared.get(), 3);
    assert_eq!(world.metrics.heads_skipped.get(), 1);
}

#[tokio::test]
async fn when_the_bus_may_have_lost_something_every_room_is_compared_at_once() {
    let world = World::new().await;
    let [alice, other] = two_rooms_with_a_loss(&world).await;
    let _task = reconcile(&world, NEVER);

    world.directory.deliver(Delivery::Interrupted(Interruption::Overrun(1)), &world.metrics);

    alice.until("MESSAGE").await;
    other.until("MESSAGE").await;
}

#[tokio::test]
async fn a_room_that_others_just_asked_about_is_left_out() {
    let world = World::new().await;
    let alice = world.session(world.alice);
    world.join(&alice, world.access(world.alice).await, None);
    alice.until("SUBSCRIBED").await;
    world.directory.deliver(Delivery::Interrupted(Interruption::Restored), &world.metrics);
    // The doubt of that moment is older than what this join brings.
    let again = world.session(world.alice);
    world.join(&again, world.access(world.alice).await, None);
    again.until("SUBSCRIBED").await;

    let due = world.directory.due(Instant::now(), NEVER);
    assert_eq!((due.rooms.len(), due.skipped), (0, 1));
    let due = world.directory.due(Instant::now(), Duration::ZERO);
    assert_eq!((due.rooms.len(), due.skipped), (1, 0));
}
