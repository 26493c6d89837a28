//! Many writers at once: no hole, no repeat, no deadlock.

use std::{collections::BTreeMap, sync::Arc};

use chat_domain::{
    ChannelId, Refusal, UserId, UserStatus,
    ports::{Appended, LoggedEvent, Storage},
};
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
                let answers = store.append(&commands.collect::<Vec<_>>()).await.unwrap();
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
                store.append(&[world.send(group, alice, &i.to_string())]).await.unwrap();
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
async fn what_another_process_has_changed_counts(
    #[values(Kind::Sqlite, Kind::Postgres)] kind: Kind,
    #[values(1, 2)] at_once: usize,
) {
    let world = World::new(kind).await;
    let [alice, bob] = world.users(["alice", "bob"]).await;
    let channel = world.group(alice, &[bob]).await;
    let set_status = async |status| {
        world.store.change_status(bob, status, world.now()).await.unwrap();
    };
    let name = async || world.store.channel(channel, bob).await.unwrap().unwrap().channel.details.name.unwrap();

    let process = Process::that_knows(&world, channel, bob, at_once).await;
    world.accept(world.send(channel, alice, "from alice")).await;
    process.send(bob).await.unwrap();

    let process = Process::that_knows(&world, channel, bob, at_once).await;
    world.accept(world.rename(channel, alice, "another name")).await;
    process.send(bob).await.unwrap();
    assert_eq!(name().await, "another name");

    let process = Process::that_knows(&world, channel, bob, at_once).await;
    set_status(UserStatus::Suspended).await;
    assert_eq!(process.send(bob).await.unwrap_err(), Refusal::UserNotActive(UserStatus::Suspended));
    set_status(UserStatus::Active).await;
    process.send(bob).await.unwrap();

    // As after a restore from a backup, whose log is as long.
    let process = Process::that_knows(&world, channel, bob, at_once).await;
    world.execute("UPDATE channels SET name = 'restored'").await;
    world.store.renew_epochs().await.unwrap();
    process.send(bob).await.unwrap();
    assert_eq!(name().await, "restored");

    let process = Process::that_knows(&world, channel, bob, at_once).await;
    world.accept(world.deactivate(channel, alice)).await;
    assert_eq!(process.send(bob).await.unwrap_err(), Refusal::ChannelInactive);
    world.assert_no_holes(channel).await;
}

/// Also when others have used the channel in the same process before the member that was removed comes back to it.
#[rstest]
#[tokio::test]
async fn who_was_removed_by_another_process_stays_out(
    #[values(Kind::Sqlite, Kind::Postgres)] kind: Kind,
    #[values(1, 2)] at_once: usize,
) {
    let world = World::new(kind).await;
    let [alice, bob] = world.users(["alice", "bob"]).await;
    let channel = world.group(alice, &[bob]).await;
    let members = async || world.store.members(channel, None, 10).await.unwrap();
    // More than a process does without its memory after that was wrong.
    const MANY: usize = 100;
    for others_before in [0, 1] {
        let process = Process::that_knows(&world, channel, bob, at_once).await;
        for _ in 0..others_before {
            process.send(alice).await.unwrap();
        }
        world.accept(world.remove(channel, alice, bob)).await;
        process.send(alice).await.unwrap();
        assert_eq!(process.send(bob).await.unwrap_err(), Refusal::ChannelNotFound);
        for _ in 0..MANY {
            process.send(alice).await.unwrap();
        }
        assert_eq!(process.send(bob).await.unwrap_err(), Refusal::ChannelNotFound);
        assert_eq!(members().await.len(), 1);
        world.accept(world.add(channel, alice, bob)).await;

        // And who comes back does not find the membership of before.
        let process = Process::that_knows(&world, channel, bob, at_once).await;
        world.accept(world.remove(channel, alice, bob)).await;
        world.accept(world.add(channel, alice, bob)).await;
        let joined = members().await.into_iter().map(|view| view.member.joined_at).collect::<Vec<_>>();
        process.send(alice).await.unwrap();
        process.send(bob).await.unwrap();
        let kept = members().await.into_iter().map(|view| view.member.joined_at).collect::<Vec<_>>();
        assert_eq!(kept, joined);
    }
    world.assert_no_holes(channel).await;
}

/// Another process on the same store.
struct Process<'w> {
    world: &'w World,
    store: Arc<dyn Storage>,
    channel: ChannelId,
    /// How many messages it sends at once.
    at_once: usize,
}

impl<'w> Process<'w> {
    /// One in which this user has just sent to the channel, more than once.
    async fn that_knows(world: &'w World, channel: ChannelId, user: UserId, at_once: usize) -> Self {
        let process = Self { world, store: world.open_another().await, channel, at_once };
        for _ in 0..2 {
            process.send(user).await.unwrap();
        }
        process
    }

    /// The last answer: all are alike.
    async fn send(&self, user: UserId) -> Result<Appended, Refusal> {
        let sends: Vec<_> = (0..self.at_once).map(|_| self.world.send(self.channel, user, "hello")).collect();
        let mut answers = self.store.append(&sends).await.unwrap();
        let last = answers.pop().unwrap();
        assert!(answers.iter().all(|answer| answer.as_ref().err() == last.as_ref().err()), "{answers:?}");
        last
    }
}
