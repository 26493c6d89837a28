use std::time::Duration;

use chat_domain::{Actor, ledger::Action};
use chat_events::{Topic, bus::Delivery};
use chat_test_support::wait_until;
use chat_websocket_server::room::{RecentLimits, RoomLimits, SequencerLimits};

use crate::world::{DEADLINE, Session, World, frame};

#[tokio::test]
async fn who_is_removed_while_the_room_opens_hears_nothing_after_that() {
    let world = World::new().await;
    let bob = world.session(world.bob);
    let stale = world.access(world.bob).await;
    let removed = world.remove_bob(false).await;
    world.send(false).await;

    world.join(&bob, stale, None);

    let sent = bob.until("UNSUBSCRIBED").await;
    assert_eq!(sent, [frame("SUBSCRIBED", None), frame("MEMBER_LEFT", removed), frame("UNSUBSCRIBED", None)]);
}

#[tokio::test]
async fn who_was_removed_before_an_open_room_is_joined_is_turned_away() {
    let world = World::new().await;
    let (alice, bob) = (world.session(world.alice), world.session(world.bob));
    world.join(&alice, world.access(world.alice).await, None);
    alice.until("SUBSCRIBED").await;
    let stale = world.access(world.bob).await;
    world.remove_bob(true).await;
    alice.until("MEMBER_LEFT").await;

    world.join(&bob, stale, Some(0));

    assert_eq!(bob.until("ERROR").await, [frame("ERROR", None)]);
}

#[tokio::test]
async fn an_old_departure_does_not_end_a_new_membership() {
    let world = World::new().await;
    let (alice, bob) = (world.session(world.alice), world.session(world.bob));
    world.join(&alice, world.access(world.alice).await, None);
    alice.until("SUBSCRIBED").await;
    // The room has heard neither: it learns of both from the head that comes with the join.
    let left = world.remove_bob(false).await;
    let back = world.add_bob(false).await;

    world.join(&bob, world.access(world.bob).await, None);
    bob.until("MEMBER_JOINED").await;
    let message = world.send(true).await;

    assert_eq!(bob.until("MESSAGE").await, [frame("MESSAGE", message)]);
    let sent = alice.until("MESSAGE").await;
    assert_eq!(sent, [frame("MEMBER_LEFT", left), frame("MEMBER_JOINED", back), frame("MESSAGE", message)]);
}

#[tokio::test]
async fn a_second_subscribe_starts_anew_without_what_the_first_one_replayed() {
    let world = World::new().await;
    let bob = world.session(world.bob);
    for _ in 0..400 {
        world.send(false).await;
    }
    let access = world.access(world.bob).await;
    world.join(&bob, access, Some(0));
    world.join(&bob, access, Some(200));

    // The first is answered or cut off; behind the beginning of the second comes the second alone, whole and in order.
    let mut sent = Vec::new();
    while sent.last() != Some(&frame("MESSAGE", 400)) && !sent.contains(&frame("SUBSCRIBED", None)) {
        sent.extend(bob.until("SUBSCRIBED").await);
    }
    let seqs: Vec<u64> = sent.iter().filter_map(|(_, seq)| *seq).collect();
    let second = seqs.iter().rposition(|seq| *seq == 201).unwrap();
    assert_eq!(seqs[second..], (201..=400).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_leaves_before_the_room_opens_has_the_channel_closed() {
    let world = World::new().await;
    let bob = world.session(world.bob);
    world.join(&bob, world.access(world.bob).await, None);
    bob.handle.forget_channel(world.channel);
    assert!(world.hub.leave(world.channel, bob.handle.id, bob.handle.answer(None).unwrap()));

    assert_eq!(bob.until("UNSUBSCRIBED").await, [frame("SUBSCRIBED", None), frame("UNSUBSCRIBED", None)]);
    assert!(bob.handle.end().is_empty());
}

#[tokio::test]
async fn a_room_ends_when_its_last_session_is_dropped_with_a_join_on_its_way() {
    let world = World::new().await;
    let bob = world.session(world.bob);
    world.join(&bob, world.access(world.bob).await, None);
    drop(bob.registered);

    wait_until("the room ends", DEADLINE, async || world.directory.rooms().is_empty()).await;
}

#[tokio::test]
async fn what_is_not_published_is_found_by_the_next_join() {
    let world = World::new().await;
    let alice = world.session(world.alice);
    world.join(&alice, world.access(world.alice).await, None);
    alice.until("SUBSCRIBED").await;
    let lost = world.send(false).await;
    let heard = world.send(true).await;

    let late = world.session(world.alice);
    world.join(&late, world.access(world.alice).await, Some(0));
    late.until("SUBSCRIBED").await;

    wait_until("both are delivered", DEADLINE, async || {
        let status = world.directory.rooms()[0].1.status.lock().unwrap();
        status.delivered == heard
    })
    .await;
    let sent: Vec<_> = alice.take().iter().map(|text| text.contains("\"MESSAGE\"")).collect();
    assert_eq!((sent, lost + 1), (vec![true, true], heard));
}

#[tokio::test]
async fn a_closed_channel_is_replayed_to_its_end_and_then_closed() {
    let world = World::new().await;
    let message = world.send(false).await;
    let close = Action::Close { channel_id: world.channel, actor: Actor::user(world.alice) };
    let closed = world.act(close, false).await;
    let bob = world.session(world.bob);

    world.join(&bob, world.access(world.bob).await, Some(0));

    let expected = [
        frame("MESSAGE", message),
        frame("CHANNEL_CLOSED", closed),
        frame("SUBSCRIBED", None),
        frame("UNSUBSCRIBED", None),
    ];
    assert_eq!(bob.until("UNSUBSCRIBED").await, expected);
}

#[tokio::test]
async fn without_repair_a_hole_stays_a_hole() {
    let sequencer = SequencerLimits { reorder_window: Duration::ZERO, ..SequencerLimits::default() };
    let world = World::with(RoomLimits { repair: false, sequencer, ..RoomLimits::default() }).await;
    let alice = world.session(world.alice);
    world.join(&alice, world.access(world.alice).await, None);
    alice.until("SUBSCRIBED").await;
    let heard = world.send(true).await;
    assert_eq!(alice.until("MESSAGE").await, [frame("MESSAGE", heard)]);
    world.send(false).await;
    world.send(true).await;

    // Each join brings the head, would have the hole read at once, and is answered from where the room is.
    for _ in 0..10 {
        let late = world.session(world.alice);
        world.join(&late, world.access(world.alice).await, Some(0));
        assert_eq!(late.until("SUBSCRIBED").await, [frame("MESSAGE", heard), frame("SUBSCRIBED", None)]);
    }
    assert!(alice.take().is_empty());
}

/// Commits so many messages, and brings the room all of them at once.
async fn burst(world: &World, messages: usize) {
    let before = world.access(world.bob).await.head.head_seq;
    world.send_many(world.channel, messages).await;
    for event in world.storage.replay(world.channel, before, 1_000).await.unwrap() {
        let topic = Topic::Room(world.channel);
        world.directory.deliver(Delivery::Payload { topic, payload: event.body }, &world.metrics);
    }
    let head = before + messages as u64;
    wait_until("all are delivered", DEADLINE, async || {
        world.directory.open_room(world.channel).is_some_and(|room| room.delivered == head)
    })
    .await;
}

/// A room that as many sessions have open.
async fn crowded(limits: RoomLimits) -> (World, Vec<Session>) {
    let world = World::with(limits).await;
    let sessions: Vec<_> = (0..100).map(|_| world.session(world.bob)).collect();
    for session in &sessions {
        world.join(session, world.access(world.bob).await, None);
        session.until("SUBSCRIBED").await;
    }
    (world, sessions)
}

#[tokio::test]
async fn a_room_collects_only_while_it_is_hot() {
    let (world, sessions) = crowded(RoomLimits::default()).await;
    burst(&world, 20).await;
    burst(&world, 1).await;
    assert_eq!(world.metrics.coalesced.get(), 0, "a burst out of silence is no heat");
    wait_until("it is hot", DEADLINE, async || {
        burst(&world, 300).await;
        sessions.iter().for_each(|session| drop(session.take()));
        world.metrics.coalesced.get() > 0
    })
    .await;

    let (world, sessions) = crowded(RoomLimits { coalesce: Duration::ZERO, ..RoomLimits::default() }).await;
    for _ in 0..5 {
        burst(&world, 300).await;
        sessions.iter().for_each(|session| drop(session.take()));
    }
    assert_eq!(world.metrics.coalesced.get(), 0, "it is switched off");
}

#[tokio::test]
async fn a_room_in_which_nothing_happens_forgets_and_has_who_comes_back_read_the_log() {
    let recent = RecentLimits { idle: Duration::from_millis(50), ..RecentLimits::default() };
    let world = World::with(RoomLimits { recent, ..RoomLimits::default() }).await;
    let live = world.session(world.alice);
    world.join(&live, world.access(world.alice).await, None);
    live.until("SUBSCRIBED").await;
    burst(&world, 20).await;
    wait_until("the memory is given back", DEADLINE, async || world.metrics.remembered_bytes.get() == 0).await;
    assert_eq!(missed_by_one_who_comes_back(&world).await, (1..=20).collect::<Vec<_>>());
    assert_eq!(world.metrics.page_reads.get(), 1);
    wait_until("nor is what was read kept", DEADLINE, async || world.metrics.remembered_bytes.get() == 0).await;
}

#[tokio::test]
async fn a_room_in_which_something_happened_brings_on_who_comes_back_from_memory() {
    let world = World::new().await;
    let live = world.session(world.alice);
    world.join(&live, world.access(world.alice).await, None);
    live.until("SUBSCRIBED").await;
    burst(&world, 20).await;
    wait_until("it counts", DEADLINE, async || world.metrics.remembered_bytes.get() > 0).await;
    assert_eq!(missed_by_one_who_comes_back(&world).await, (1..=20).collect::<Vec<_>>());
    assert_eq!(world.metrics.page_reads.get(), 0);
}

async fn missed_by_one_who_comes_back(world: &World) -> Vec<u64> {
    let back = world.session(world.bob);
    world.join(&back, world.access(world.bob).await, Some(0));
    back.until("SUBSCRIBED").await.iter().filter_map(|(_, seq)| *seq).collect()
}
