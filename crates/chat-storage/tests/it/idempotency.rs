//! A retry is safe for ever.

use chat_domain::{Message, Refusal, ports::Appended};
use rstest::rstest;

use crate::world::{Kind, World, message_of};

#[rstest]
#[tokio::test]
async fn a_repeat_returns_the_original(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, bob] = world.users(["alice", "bob"]).await;
    let group = world.group(alice, &[bob]).await;

    let batch = vec![world.send_once(group, alice, "hi", "1"), world.send_once(group, alice, "hi", "1")];
    let answers = world.append(batch).await;
    let original = message_of(answers[0].as_ref().unwrap()).clone();
    assert_repeat(answers[1].as_ref().unwrap(), &original);

    assert_repeat(&world.accept(world.send_once(group, alice, "hi", "1")).await, &original);
    let later = world.open_another().await;
    let answers = later.append(&[world.send_once(group, alice, "hi", "1")]).await.unwrap();
    assert_repeat(answers[0].as_ref().unwrap(), &original);

    let of_bob = world.accept(world.send_once(group, bob, "hi", "1")).await;
    assert!(of_bob.event.is_some(), "ids are the sender's own");
    assert_eq!(world.assert_no_holes(group).await, 2);
}

fn assert_repeat(answer: &Appended, original: &Message) {
    assert_eq!(message_of(answer), original);
    assert_eq!(answer.event, None);
}

/// Neither sees the other's message when it looks the id up, because they hold the locks of different channels.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_id_through_two_channels_at_once_wins_once(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let other_process = world.open_another().await;
    let alice = world.user("alice").await;
    let [one, two] = [world.group(alice, &[]).await, world.group(alice, &[]).await];

    const ROUNDS: u64 = 60;
    for round in 0..ROUNDS {
        let id = round.to_string();
        let sends = [one, two].map(|channel| [world.send_once(channel, alice, "hi", &id)]);
        let (left, right) = tokio::join!(world.store.append(&sends[0]), other_process.append(&sends[1]));
        let answers = [left.unwrap().remove(0), right.unwrap().remove(0)];
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
        let refused = answers.into_iter().find_map(Result::err).unwrap();
        assert_eq!(refused, Refusal::ClientMessageIdReused);
    }
    assert_eq!(world.assert_no_holes(one).await + world.assert_no_holes(two).await, ROUNDS);
}

/// Each batch meets the other's ids from the other end.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ids_in_opposite_order_do_not_fail_the_batch(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let other_process = world.open_another().await;
    let alice = world.user("alice").await;
    let [one, two] = [world.group(alice, &[]).await, world.group(alice, &[]).await];

    const IDS: u64 = 100;
    let up: Vec<_> = (0..IDS).map(|id| world.send_once(one, alice, "hi", &id.to_string())).collect();
    let down: Vec<_> = (0..IDS).rev().map(|id| world.send_once(two, alice, "hi", &id.to_string())).collect();
    let (up, down) = tokio::join!(world.store.append(&up), other_process.append(&down));

    let accepted = up.unwrap().iter().chain(&down.unwrap()).filter(|answer| answer.is_ok()).count();
    assert_eq!(accepted as u64, IDS);
    assert_eq!(world.assert_no_holes(one).await + world.assert_no_holes(two).await, IDS);
}
