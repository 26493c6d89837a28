//! Who may not listen any more is found in storage, if the bus was silent about it.

use std::{sync::Arc, time::Duration};

use chat_domain::{Timestamp, UserId, UserStatus};
use chat_events::{
    Topic, UserSignal,
    bus::{Delivery, Interruption},
};
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
        assert_eq!((session.handle.outbox.closed(), session.take().len()), (None, 0));
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
    world.hub.confirm_user(world.bob, None, admitted);

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
    world.hub.confirm_user(world.bob, None, now);

    assert_eq!(world.directory.users_due(now, NEVER), []);
    assert_eq!(world.directory.users_due(now + NEVER, NEVER), [world.bob]);
    world.directory.deliver(Delivery::Interrupted(Interruption::Lost), &world.metrics);
    assert_eq!(world.directory.users_due(now, NEVER), [world.bob]);
}

fn issued(world: &World, user: UserId, millis: i64) -> Session {
    let session = world.session(user);
    session.handle.set_token_issued_at(Some(after(millis)));
    session
}

fn after(millis: i64) -> Timestamp {
    Timestamp::from_millis(AT.as_millis() + millis)
}

async fn revoke(world: &World, before: Timestamp) -> UserSignal {
    let before = world.storage.revoke_tokens(world.bob, before).await.unwrap();
    UserSignal::TokensRevoked { user_id: world.bob, before }
}

async fn has_lost_its_token(session: &Session) {
    assert_eq!(session.until("TOKENS_REVOKED").await, [frame("TOKENS_REVOKED", None)]);
    assert_eq!(session.handle.outbox.closed(), Some(CloseReason::TokenInvalid));
}

#[tokio::test]
async fn a_revocation_ends_the_sessions_with_older_tokens_and_no_others() {
    let world = World::new().await;
    let (alice, unknown) = (issued(&world, world.alice, 0), world.session(world.bob));
    let (old, exact, new) =
        (issued(&world, world.bob, 4_999), issued(&world, world.bob, 5_000), issued(&world, world.bob, 6_000));
    let renewed = issued(&world, world.bob, 0);
    renewed.handle.set_token_issued_at(Some(after(7_000)));

    let payload = revoke(&world, after(5_000)).await.to_json();
    world.directory.deliver(Delivery::Payload { topic: Topic::User(world.bob), payload }, &world.metrics);

    has_lost_its_token(&old).await;
    has_lost_its_token(&unknown).await;
    for session in [&exact, &new, &renewed] {
        assert_eq!(session.until("TOKENS_REVOKED").await, [frame("TOKENS_REVOKED", None)], "all are told");
        assert_eq!(session.handle.outbox.closed(), None);
    }
    assert_eq!((alice.handle.outbox.closed(), alice.take().len()), (None, 0));
    assert_eq!((world.metrics.malformed.get(), world.metrics.revocations_found.get()), (0, 0));
}

#[tokio::test]
async fn a_revocation_that_was_not_heard_is_found_once_and_spares_newer_tokens() {
    let world = World::new().await;
    let (old, again, new) =
        (issued(&world, world.bob, 0), issued(&world, world.bob, 1), issued(&world, world.bob, 6_000));
    revoke(&world, after(5_000)).await;

    one_pass(&world).await;
    one_pass(&world).await;

    has_lost_its_token(&old).await;
    has_lost_its_token(&again).await;
    assert_eq!((new.handle.outbox.closed(), new.take().len()), (None, 0));
    assert_eq!(world.metrics.revocations_found.get(), 1);
    assert_eq!(world.directory.users_due(Instant::now(), NEVER), [], "the others are confirmed");
}

#[tokio::test]
async fn who_was_banned_and_had_tokens_revoked_is_told_of_the_ban() {
    let world = World::new().await;
    let bob = issued(&world, world.bob, 0);
    revoke(&world, after(5_000)).await;
    set_status(&world, UserStatus::Banned).await;

    one_pass(&world).await;

    is_sent_away(&bob).await;
    assert_eq!((world.metrics.bans_found.get(), world.metrics.revocations_found.get()), (1, 0));
}

/// The look at storage for a new session counts for the user: an older session must not be left out because of it.
#[tokio::test]
async fn a_new_session_of_the_user_does_not_hide_a_void_token() {
    let world = World::new().await;
    let (old, _new) = (issued(&world, world.bob, 0), issued(&world, world.bob, 6_000));
    revoke(&world, after(5_000)).await;

    world.hub.confirm_user(world.bob, Some(after(5_000)), Instant::now());

    has_lost_its_token(&old).await;
}
