//! Who may not listen any more is found in storage, if the bus was silent about it.

use std::{sync::Arc, time::Duration};

use chat_domain::{UserId, UserStatus};
use chat_events::bus::{Delivery, Interruption};
use chat_test_support::wait_until;
use chat_websocket_server::{pace::Intervals, protocol::CloseReason, standing};
use tokio::{task::JoinSet, time::Instant};

use crate::world::{AT, DEADLINE, Session, World, frame};

const NEVER: Duration = Duration::from_secs(3_600);

/// Compares users, at this interval, until it is dropped.
fn watch(world: &World, interval: Duration) -> JoinSet<()> {
    let intervals = Intervals { with_bus: interval, without_bus: interval };
    let (directory, storage) = (Arc::clone(&world.directory), Arc::clone(&world.storage));
    let mut task = JoinSet::new();
    task.spawn(standing::run(directory, storage, Arc::clone(&world.metrics), intervals));
    task
}

async fn one_pass(world: &World) {
    standing::compare_due(&world.directory, &*world.storage, &world.metrics, Duration::ZERO).await;
}

async fn set_status(world: &World, status: UserStatus) {
    world.storage.change_status(world.bob, status, AT).await.unwrap();
}

async fn is_sent_away(session: &Session) {
    assert_eq!(session.until("USER_STATUS_CHANGED").await, [frame("USER_STATUS_CHANGED", None)]);
    let closed = async || session.handle.outbox.closed() == Some(CloseReason::Forbidden);
    wait_until("the session ends", DEADLINE, closed).await;
}

#[tokio::test]
async fn who_is_banned_unheard_is_sent_away_from_all_sessions() {
    let world = World::new().await;
    let (alice, bob, again) = (world.session(world.alice), world.session(world.bob), world.session(world.bob));
    set_status(&world, UserStatus::Banned).await;

    let _task = watch(&world, Duration::from_millis(100));

    is_sent_away(&bob).await;
    is_sent_away(&again).await;
    assert_eq!(world.metrics.bans_found.get(), 1);
    assert_eq!(alice.handle.outbox.closed(), None);
}

#[tokio::test]
async fn when_the_bus_may_have_lost_something_users_are_compared_at_once() {
    let world = World::new().await;
    let bob = world.session(world.bob);
    let _task = watch(&world, NEVER);
    set_status(&world, UserStatus::Withdrawn).await;

    world.directory.deliver(Delivery::Interrupted(Interruption::Restored), &world.metrics);

    is_sent_away(&bob).await;
}

#[tokio::test]
async fn who_may_read_or_is_not_known_stays() {
    let world = World::new().await;
    let sessions = [world.session(world.alice), world.session(world.bob), world.session(UserId::new(AT))];
    set_status(&world, UserStatus::Suspended).await;

    one_pass(&world).await;

    assert_eq!(world.metrics.users_compared.get(), 3);
    for session in sessions {
        assert_eq!((session.handle.outbox.closed(), session.handle.outbox.take().len()), (None, 0));
    }
}

#[tokio::test]
async fn storage_that_does_not_answer_sends_nobody_away() {
    let world = World::new().await;
    let bob = world.session(world.bob);
    set_status(&world, UserStatus::Banned).await;
    world.storage.close().await;

    one_pass(&world).await;

    assert_eq!((bob.handle.outbox.closed(), world.metrics.users_compared.get()), (None, 0));
    assert_eq!(world.directory.users_due(Instant::now(), NEVER), [world.bob], "it is asked about again");
}

#[tokio::test]
async fn who_was_let_in_again_is_not_sent_away_by_an_older_answer() {
    let world = World::new().await;
    let bob = world.session(world.bob);
    let before = Instant::now();
    let admitted = before + Duration::from_millis(1);
    world.hub.confirm_user(world.bob, admitted);

    assert!(!world.directory.send_away(world.bob, UserStatus::Banned, before));
    assert_eq!(bob.handle.outbox.closed(), None);
    assert!(world.directory.send_away(world.bob, UserStatus::Banned, admitted + Duration::from_millis(1)));
    assert_eq!(bob.handle.outbox.closed(), Some(CloseReason::Forbidden));
    assert!(!world.directory.send_away(world.bob, UserStatus::Banned, admitted + Duration::from_millis(2)));
}

#[tokio::test]
async fn who_was_just_admitted_is_left_out_unless_the_bus_was_interrupted_since() {
    let world = World::new().await;
    let _bob = world.session(world.bob);
    assert_eq!(world.directory.users_due(Instant::now(), NEVER), [world.bob], "nobody has looked yet");
    let now = Instant::now();
    world.hub.confirm_user(world.bob, now);

    assert_eq!(world.directory.users_due(now, NEVER), []);
    assert_eq!(world.directory.users_due(now + NEVER, NEVER), [world.bob]);
    world.directory.deliver(Delivery::Interrupted(Interruption::Lost), &world.metrics);
    assert_eq!(world.directory.users_due(now, NEVER), [world.bob]);
}
