//! Many writers at once: no hole, no repeat, no deadlock.

use std::collections::BTreeMap;

use chat_domain::{Refusal, UserStatus, ports::LoggedEvent};
use rstest::rstest;

use crate::world::{Kind, World, event};

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_leave_no_holes(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    const WRITERS: usize = 8;
    const BATCHES: usize = 12;
    const BATCH: usize = 20;
    let world = World::new(kind).await;
    let other_process = world.open_another().await;
    let users = world.users(["a", "b", "c", "d"]).await;
    let mut channels = Vec::new();
    for _ in 0..3 {
        channels.push(world.group(users[0], &users[1..]).await);
    }

    let writer = |number: usize| {
        let (world, channels) = (&world, &channels);
        let store = if number.is_multiple_of(2) { &world.store } else { &other_process };
        async move {
            let mut published = Vec::new();
            for batch in 0..BATCHES {
                // Each writer meets the channels in another order.
                let commands = (0..BATCH).map(|i| {
                    let channel = channels[(number + batch + i) % channels.len()];
                    world.send(channel, users[number % users.len()], &format!("{number}/{batch}/{i}"))
                });
                let answers = store.append(commands.collect()).await.unwrap();
                published.extend(answers.iter().map(event).cloned());
            }
            published
        }
    };
    let (a, b, c, d, e, f, g, h) =
        tokio::join!(writer(0), writer(1), writer(2), writer(3), writer(4), writer(5), writer(6), writer(7),);

    let published: Vec<LoggedEvent> = [a, b, c, d, e, f, g, h].concat();
    assert_eq!(published.len(), WRITERS * BATCHES * BATCH);
    let mut by_place: BTreeMap<_, LoggedEvent> = BTreeMap::new();
    for event in published {
        let place = (event.channel_id, event.seq);
        assert!(by_place.insert(place, event).is_none(), "a number was given out twice: {place:?}");
    }
    for &channel in &channels {
        world.assert_no_holes(channel).await;
        for logged in world.log(channel).await {
            assert_eq!(by_place[&(channel, logged.seq)], logged, "what is replayed is what was published");
        }
    }
}

/// A reader that sees an event sees all before it, whatever commits meanwhile.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_never_sees_a_hole(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let other_process = world.open_another().await;
    let alice = world.user("alice").await;
    let group = world.group(alice, &[]).await;

    const EVENTS: u64 = 200;
    let write = |store: std::sync::Arc<dyn chat_domain::ports::Storage>| {
        let world = &world;
        async move {
            for i in 0..EVENTS / 2 {
                store.append(vec![world.send(group, alice, &i.to_string())]).await.unwrap();
            }
        }
    };
    let read = async {
        let mut next = 1;
        while next <= EVENTS {
            for event in world.store.replay(group, next - 1, 50).await.unwrap() {
                assert_eq!(event.seq, next);
                next += 1;
            }
        }
    };
    tokio::join!(write(world.store.clone()), write(other_process), read);
}

/// Whatever a process remembers of earlier batches, it does not miss what another one has changed since.
#[rstest]
#[tokio::test]
async fn what_another_process_has_changed_counts(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, bob] = world.users(["alice", "bob"]).await;
    let channel = world.group(alice, &[bob]).await;
    let bans = async |status| {
        world.store.change_status(bob, status, world.now()).await.unwrap();
    };
    let mut expected = world.assert_no_holes(channel).await;
    for step in 0..6 {
        // One that remembers nothing yet, and then bob and the channel.
        let process = world.open_another().await;
        let send = async || process.append(vec![world.send(channel, bob, "from bob")]).await.unwrap().remove(0);
        for _ in 0..3 {
            expected += 1;
            assert_eq!(event(&send().await).seq, expected);
        }
        let (refused, logged) = match step {
            0 => (None, world.accept(world.send(channel, alice, "from alice")).await.event),
            1 => (Some(Refusal::ChannelNotFound), world.accept(world.remove(channel, alice, bob)).await.event),
            2 => (None, world.accept(world.rename(channel, alice, "another name")).await.event),
            3 => {
                bans(UserStatus::Suspended).await;
                (Some(Refusal::UserNotActive(UserStatus::Suspended)), None)
            }
            4 => {
                world.store.renew_epochs().await.unwrap();
                (None, None)
            }
            _ => (Some(Refusal::ChannelInactive), world.accept(world.deactivate(channel, alice)).await.event),
        };
        expected += u64::from(logged.is_some());
        match refused {
            Some(refusal) => assert_eq!(send().await.unwrap_err(), refusal, "step {step}"),
            None => {
                expected += 1;
                assert_eq!(event(&send().await).seq, expected, "step {step}");
            }
        }
        match step {
            1 => expected = event(&Ok(world.accept(world.add(channel, alice, bob)).await)).seq,
            3 => bans(UserStatus::Active).await,
            _ => {}
        }
        if step < 5 {
            expected += 1;
            assert_eq!(event(&send().await).seq, expected, "step {step}");
        }
        process.close().await;
    }
    assert_eq!(world.assert_no_holes(channel).await, expected);
}
