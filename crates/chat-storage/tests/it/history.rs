//! Pages of history, against a model that has all messages in a list.

use chat_domain::{
    Message,
    ports::{HistoryAnchor, HistoryPage},
};
use rstest::rstest;

use crate::world::{Kind, World, message_of};

#[rstest]
#[tokio::test]
async fn every_page_is_the_models(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let [alice, bob] = world.users(["alice", "bob"]).await;
    let [group, other] = [world.group(alice, &[]).await, world.group(alice, &[]).await];
    let mut messages = Vec::new();
    for i in 0..9 {
        // Other events leave gaps between the messages, other channels must not be seen.
        if i % 3 == 1 {
            world.append(vec![world.add(group, alice, bob), world.remove(group, alice, bob)]).await;
        }
        world.accept(world.send(other, alice, "elsewhere")).await;
        let appended = world.accept(world.send(group, alice, &i.to_string())).await;
        messages.push(message_of(&appended).clone());
    }
    let head = messages.last().unwrap().seq;

    let pivots = (0..=head + 2).chain([u64::MAX]);
    let anchors = pivots
        .flat_map(|seq| [HistoryAnchor::Before(seq), HistoryAnchor::After(seq), HistoryAnchor::Around(seq)])
        .chain([HistoryAnchor::Latest]);
    for anchor in anchors {
        for limit in [1, 2, 3, 4, 8, 9, 10, 50] {
            let page = world.store.history(group, anchor, limit).await.unwrap();
            assert_eq!(page, model(&messages, anchor, limit as usize), "{anchor:?}, {limit}");
        }
    }
    let empty = world.group(alice, &[]).await;
    for anchor in [HistoryAnchor::Latest, HistoryAnchor::Around(1)] {
        assert_eq!(world.store.history(empty, anchor, 10).await.unwrap(), HistoryPage::default());
    }
}

fn model(all: &[Message], anchor: HistoryAnchor, limit: usize) -> HistoryPage {
    let first_at = |seq: u64| all.iter().position(|message| message.seq >= seq).unwrap_or(all.len());
    let (from, to) = match anchor {
        HistoryAnchor::Latest => (all.len().saturating_sub(limit), all.len()),
        HistoryAnchor::Before(seq) => (first_at(seq).saturating_sub(limit), first_at(seq)),
        HistoryAnchor::After(seq) => {
            let from = first_at(seq.saturating_add(1));
            (from, (from + limit).min(all.len()))
        }
        HistoryAnchor::Around(seq) => {
            // A window of the limit's length, half of it before the pivot, pushed back in where it hangs over an end.
            let from = first_at(seq).saturating_sub(limit / 2).min(all.len().saturating_sub(limit));
            (from, (from + limit).min(all.len()))
        }
    };
    HistoryPage { messages: all[from..to].to_vec(), has_older: from > 0, has_newer: to < all.len() }
}

#[rstest]
#[tokio::test]
async fn replay_is_bounded_and_goes_on(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice").await;
    let group = world.group(alice, &[]).await;
    world.append((0..10).map(|i| world.send(group, alice, &i.to_string())).collect()).await;

    let seqs = async |after, limit| {
        let events = world.store.replay(group, after, limit).await.unwrap();
        events.iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(0, 4).await, [1, 2, 3, 4]);
    assert_eq!(seqs(4, 100).await, [5, 6, 7, 8, 9, 10]);
    assert_eq!(seqs(10, 100).await, [0; 0]);
    assert_eq!(seqs(u64::MAX, 100).await, [0; 0]);
}
