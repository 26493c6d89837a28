//! Frames that are not as documented: each is answered, too many of them end the session, and no other notices.

use chat_domain::ChannelId;
use chat_test_support::system::System;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::scene::Scene;

/// So many bad frames are answered; the next one ends the session.
const BAD_FRAMES: usize = 5;

#[tokio::test]
async fn bad_frames_are_answered() {
    let mut scene = Scene::start(System::builder()).await;
    let cases = [
        ("hello", "BAD_FRAME"),
        ("", "BAD_FRAME"),
        ("[1]", "BAD_FRAME"),
        (r#"{"type":7}"#, "BAD_FRAME"),
        (r#"{"type":"SUBSCRIBE"}"#, "BAD_FRAME"),
        (r#"{"type":"SUBSCRIBE","channels":"all"}"#, "BAD_FRAME"),
        (r#"{"type":"SUBSCRIBE","channels":[{"channelId":"general"}]}"#, "BAD_FRAME"),
        (r#"{"type":"UNSUBSCRIBE","channelIds":[1]}"#, "BAD_FRAME"),
        (r#"{"type":"AUTH"}"#, "BAD_FRAME"),
        (r#"{"type":"DANCE"}"#, "UNKNOWN_FRAME"),
    ];
    for cases in cases.chunks(BAD_FRAMES) {
        let mut stock = scene.bob_listens().await;
        for (text, code) in cases {
            stock.send_raw(Message::text(*text)).await;
            let error = stock.expect_error(code).await;
            assert_eq!(error["retryable"], false, "{text}");
        }
        stock.send(json!({"type": "PING", "id": 1})).await;
        assert_eq!(stock.expect("PONG").await["id"], 1, "the session goes on");
    }
    scene.goes_on().await;
}

#[tokio::test]
async fn too_many_bad_frames_end_the_session() {
    let mut scene = Scene::start(System::builder()).await;
    for (text, code) in [("not JSON", 4002), (r#"{"type":"DANCE"}"#, 4001)] {
        let mut stock = scene.bob_listens().await;
        for _ in 0..=BAD_FRAMES {
            stock.send_raw(Message::text(text)).await;
        }
        for _ in 0..BAD_FRAMES {
            stock.expect("ERROR").await;
        }
        assert_eq!(stock.close_code().await, Some(code), "{text}");
    }
    scene.goes_on().await;
}

#[tokio::test]
async fn a_binary_frame_is_answered() {
    let mut scene = Scene::start(System::builder()).await;
    let mut stock = scene.bob_listens().await;
    stock.send_raw(Message::binary(vec![0, 159, 146, 150])).await;
    stock.expect_error("BAD_FRAME").await;
    scene.goes_on().await;
    stock.expect("MESSAGE").await;
}

#[tokio::test]
async fn a_frame_that_is_too_big_ends_the_session() {
    let mut scene = Scene::start(System::builder()).await;
    let mut stock = scene.bob_listens().await;
    let largest = json!({"type": "PING", "id": 1, "pad": "x".repeat(16 * 1024 - 40)});
    stock.send(largest).await;
    stock.expect("PONG").await;
    stock.send(json!({"type": "PING", "pad": "x".repeat(16 * 1024)})).await;
    assert_eq!(stock.close_code().await, Some(1009));
    scene.goes_on().await;
}

#[tokio::test]
async fn channels_that_one_may_not_see_are_not_found() {
    let mut scene = Scene::start(System::builder()).await;
    let private = scene.alice.api.create_channel("PRIVATE", "secret", &[]).await;
    let unknown: ChannelId = uuid::Uuid::new_v4().into();
    let mut stock = scene.bob_listens().await;
    let channels: Vec<Value> = [private, unknown, scene.channel].map(|id| json!({"channelId": id})).into();
    stock.send(json!({"type": "SUBSCRIBE", "id": "a", "channels": channels})).await;

    let mut answers = Vec::new();
    for _ in 0..3 {
        let answer = stock.next().await.expect("an answer for each");
        assert_eq!(answer["id"], "a");
        answers.push((answer["channelId"].clone(), answer["type"].clone(), answer["code"].clone()));
    }
    let refused = |id: ChannelId| (json!(id), json!("ERROR"), json!("CHANNEL_NOT_FOUND"));
    assert!(answers.contains(&refused(private)), "{answers:?}");
    assert!(answers.contains(&refused(unknown)), "{answers:?}");
    assert!(answers.contains(&(json!(scene.channel), json!("SUBSCRIBED"), Value::Null)), "{answers:?}");

    scene.alice.api.send(private, "not for bob").await;
    scene.goes_on().await;
    assert_eq!(stock.expect("MESSAGE").await["channelId"], json!(scene.channel));
}

#[tokio::test]
async fn a_channel_that_is_named_twice_opens_nothing() {
    let mut scene = Scene::start(System::builder()).await;
    let mut stock = scene.bob_listens().await;
    let other = scene.bob.api.create_channel("PUBLIC", "second", &[]).await;
    stock.until("CHANNEL_ADDED").await;

    let twice = json!([{"channelId": other}, {"channelId": other, "afterSeq": 0}]);
    stock.send(json!({"type": "SUBSCRIBE", "id": 7, "channels": twice})).await;
    assert_eq!(stock.expect_error("BAD_FRAME").await["id"], 7);

    stock.subscribe(other).await;
    scene.goes_on().await;
}
