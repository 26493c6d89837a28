//! The seam between replay and live: no hole and no repeat on the wire, whatever goes on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chat_domain::ChannelId;
use chat_test_support::system::{Storage, System};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rstest::rstest;
use tokio::task::JoinSet;

use crate::scene::Scene;
use crate::stock::Stock;

const SENDERS: usize = 4;
const RETURNS: usize = 30;
/// How many events each returning client follows after its SUBSCRIBED.
const LIVE_EVENTS: u64 = 15;

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_amid_a_storm_of_messages_sees_each_once_and_in_order(#[case] storage: Storage) {
    let builder = System::builder().storage(storage).message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0");
    let scene = Scene::start(builder).await;
    let newest = Arc::new(AtomicU64::new(3));
    let enough = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (api, channel, newest, enough) =
            (scene.alice.api.clone(), scene.channel, Arc::clone(&newest), Arc::clone(&enough));
        senders.spawn(async move {
            let mut number = 0;
            while !enough.load(Ordering::Relaxed) {
                number += 1;
                let id = format!("{sender}-{number}");
                let answer = api.try_send(channel, &id, &id).await.unwrap();
                assert_eq!(answer.status, 201, "{}", answer.body);
                newest.fetch_max(answer.body["seq"].as_u64().unwrap_or(0), Ordering::Relaxed);
            }
        });
    }

    let mut random = StdRng::seed_from_u64(7);
    for round in 0..RETURNS {
        // From far back, from just now, and from the very head.
        let newest = newest.load(Ordering::Relaxed);
        let after = match round % 3 {
            0 => random.random_range(0..newest),
            1 => newest.saturating_sub(random.random_range(0..10)),
            _ => newest,
        };
        let url = scene.url();
        let returned = come_back(&url, &scene.bob.token, scene.channel, after);
        tokio::time::timeout(Duration::from_secs(30), returned).await.expect("the replay ends");
    }
    enough.store(true, Ordering::Relaxed);
    senders.join_all().await;
}

async fn come_back(url: &str, token: &str, channel: ChannelId, after: u64) {
    let mut stock = Stock::sign_in(url, token).await;
    stock.subscribe_after(channel, after).await;
    let (mut last, mut head) = (after, None);
    while head.is_none_or(|head| last < head + LIVE_EVENTS) {
        let frame = stock.next().await.expect("a frame");
        if frame["type"] == "SUBSCRIBED" {
            assert_eq!(frame["headSeq"], last, "SUBSCRIBED says how far the replay went");
            assert_eq!(frame["replayed"], last - after);
            head = Some(last);
            continue;
        }
        assert_eq!(frame["seq"], last + 1, "after {after}: {frame}");
        last += 1;
    }
}
