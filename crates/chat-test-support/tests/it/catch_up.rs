//! A client that was away for long catches up in one go.

use std::collections::BTreeMap;

use chat_test_support::system::{Storage, System};
use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::scene::Scene;
use crate::stock::Stock;

const ROOMS: usize = 50;
const MESSAGES_PER_ROOM: usize = 200;
const SENDERS: usize = 10;

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_missed_messages_in_fifty_channels_come_with_one_frame(#[case] storage: Storage) {
    let builder = System::builder().storage(storage).message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0");
    let scene = Scene::start(builder).await;
    let mut bob = scene.bob_listens().await;
    let mut positions = BTreeMap::new();
    for index in 0..ROOMS {
        let room = scene.alice.api.create_channel("PUBLIC", &format!("room {index}"), &[]).await;
        let subscribed = bob.subscribe(room).await;
        positions.insert(room, (subscribed["headSeq"].as_u64().unwrap(), subscribed["epoch"].clone()));
    }
    drop(bob);

    let rooms: Vec<_> = positions.keys().copied().collect();
    let mut senders = JoinSet::new();
    for some in rooms.chunks(ROOMS / SENDERS) {
        let (api, some) = (scene.alice.api.clone(), some.to_vec());
        senders.spawn(async move {
            for number in 0..MESSAGES_PER_ROOM {
                for room in &some {
                    api.send(*room, &number.to_string()).await;
                }
            }
        });
    }
    senders.join_all().await;

    let mut back = Stock::sign_in(&scene.url(), &scene.bob.token).await;
    let started = Instant::now();
    let wish = |(room, (seq, epoch)): (_, &(u64, _))| json!({"channelId": room, "afterSeq": seq, "epoch": epoch});
    let channels: Vec<_> = positions.iter().map(wish).collect();
    back.send(json!({"type": "SUBSCRIBE", "id": 1, "channels": channels})).await;

    let (mut missing, mut messages) = (positions.len(), 0);
    while missing > 0 {
        let frame = back.next().await.expect("the session stays");
        let room = frame["channelId"].as_str().unwrap_or_else(|| panic!("{frame}")).parse().unwrap();
        let (last, _) = positions.get_mut(&room).unwrap();
        if frame["type"] == "SUBSCRIBED" {
            assert_eq!(frame["headSeq"], *last, "{frame}");
            assert_eq!(frame["replayed"], MESSAGES_PER_ROOM, "{frame}");
            missing -= 1;
            continue;
        }
        assert_eq!((&frame["type"], frame["seq"].as_u64()), (&json!("MESSAGE"), Some(*last + 1)), "{frame}");
        *last += 1;
        messages += 1;
    }
    println!("{messages} messages in {ROOMS} channels after {:?}", started.elapsed());
    assert_eq!(messages, ROOMS * MESSAGES_PER_ROOM);
}
