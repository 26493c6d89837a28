//! Positions that cannot be resumed.

use chat_test_support::system::{Storage, System};
use rstest::rstest;
use serde_json::json;

use crate::scene::Scene;
use crate::sql;

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test]
async fn another_epoch_resets_and_goes_on_live(#[case] storage: Storage) {
    let scene = Scene::start(System::builder().storage(storage)).await;
    for number in 0..3 {
        scene.alice.api.send(scene.channel, &number.to_string()).await;
    }
    let mut stock = crate::stock::Stock::sign_in(&scene.url(), &scene.bob.token).await;
    let wish = json!({"channelId": scene.channel, "afterSeq": 1, "epoch": uuid::Uuid::new_v4()});
    stock.send(json!({"type": "SUBSCRIBE", "id": 1, "channels": [wish]})).await;

    let reset = stock.expect("RESET").await;
    let subscribed = stock.expect("SUBSCRIBED").await;
    assert_eq!((&reset["reason"], &reset["oldestSeq"]), (&json!("EPOCH_CHANGED"), &json!(1)));
    assert_eq!((&reset["headSeq"], &reset["epoch"]), (&subscribed["headSeq"], &subscribed["epoch"]));
    assert_eq!(subscribed["replayed"], 0);

    scene.alice.api.send(scene.channel, "live").await;
    assert_eq!(stock.expect("MESSAGE").await["seq"], reset["headSeq"].as_u64().unwrap() + 1);
}

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test]
async fn more_than_is_replayed_resets(#[case] storage: Storage) {
    let builder = System::builder().storage(storage).websocket_setting("CHAT_LIMITS_REPLAY_EVENTS", "20");
    let scene = Scene::start(builder).await;
    for number in 0..25 {
        scene.alice.api.send(scene.channel, &number.to_string()).await;
    }
    let mut stock = crate::stock::Stock::sign_in(&scene.url(), &scene.bob.token).await;
    stock.subscribe_after(scene.channel, 1).await;
    let reset = stock.expect("RESET").await;
    assert_eq!(reset["reason"], "TOO_MANY");
    let head = reset["headSeq"].as_u64().unwrap();
    assert_eq!(stock.expect("SUBSCRIBED").await["headSeq"], head);

    // As many as are replayed still come one by one.
    stock.subscribe_after(scene.channel, head - 20).await;
    for seq in head - 19..=head {
        assert_eq!(stock.expect("MESSAGE").await["seq"], seq);
    }
    let subscribed = stock.expect("SUBSCRIBED").await;
    assert_eq!((&subscribed["replayed"], &subscribed["headSeq"]), (&json!(20), &json!(head)));
}

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test]
async fn what_is_no_longer_kept_resets(#[case] storage: Storage) {
    let mut scene = Scene::start(System::builder().storage(storage)).await;
    for number in 0..10 {
        scene.alice.api.send(scene.channel, &number.to_string()).await;
    }
    for _ in 0..10 {
        scene.witness.until("MESSAGE").await;
    }
    // As a retention does: the room is open and remembers more than the log has.
    let retain = "DELETE FROM channel_events WHERE channel_id = :channel AND seq < 6;
                  UPDATE channels SET oldest_seq = 6 WHERE id = :channel;";
    sql::execute(&scene.system, retain, scene.channel).await;

    let mut stock = crate::stock::Stock::sign_in(&scene.url(), &scene.bob.token).await;
    stock.subscribe_after(scene.channel, 4).await;
    let reset = stock.expect("RESET").await;
    let head = reset["headSeq"].as_u64().unwrap();
    assert_eq!((&reset["reason"], &reset["oldestSeq"]), (&json!("TOO_OLD"), &json!(6)));
    assert_eq!(stock.expect("SUBSCRIBED").await["headSeq"], head);
    scene.alice.api.send(scene.channel, "live").await;
    assert_eq!(stock.expect("MESSAGE").await["seq"], head + 1);

    // From right before the oldest one, everything is there.
    stock.subscribe_after(scene.channel, 5).await;
    for seq in 6..=head + 1 {
        assert_eq!(stock.next().await.expect("a frame")["seq"], seq);
    }
    stock.expect("SUBSCRIBED").await;
}

/// Events came and went while nothing was heard of them. What is sent then cannot be delivered behind the last one.
#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test]
async fn a_room_starts_anew_when_what_it_would_deliver_next_is_no_longer_kept(#[case] storage: Storage) {
    let mut scene = Scene::start(System::builder().storage(storage)).await;
    scene.goes_on().await;
    let gone = "UPDATE channels SET last_seq = last_seq + 10, oldest_seq = last_seq + 11 WHERE id = :channel;";
    sql::execute(&scene.system, gone, scene.channel).await;
    scene.alice.api.send(scene.channel, "live").await;
    assert_eq!(scene.witness.close_code().await, Some(1013));

    let mut back = crate::stock::Stock::sign_in(&scene.url(), &scene.alice.token).await;
    back.subscribe_after(scene.channel, 1).await;
    assert_eq!(back.expect("RESET").await["reason"], "TOO_OLD");
    back.expect("SUBSCRIBED").await;
    scene.alice.api.send(scene.channel, "on").await;
    while back.until("MESSAGE").await["content"] != "on" {}
}

#[tokio::test]
async fn a_position_that_the_log_has_not_reached_resets() {
    let scene = Scene::start(System::builder()).await;
    let mut stock = crate::stock::Stock::sign_in(&scene.url(), &scene.bob.token).await;
    stock.subscribe_after(scene.channel, 1_000).await;
    let reset = stock.expect("RESET").await;
    assert_eq!(reset["reason"], "EPOCH_CHANGED");
    assert_eq!(stock.expect("SUBSCRIBED").await["headSeq"], reset["headSeq"]);
}
