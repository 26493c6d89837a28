//! What others publish on the Redis topics.

use chat_events::Topic;
use chat_test_support::system::{Storage, System};
use chat_test_support::wait_until;
use serde_json::json;
use tokio::task::JoinSet;

use crate::scene::Scene;
use crate::stock::{DEADLINE, Stock};

#[tokio::test]
async fn payloads_that_are_not_ours_are_counted_and_skipped() {
    let mut scene = Scene::start(System::builder()).await;
    let mut bob = scene.bob_listens().await;
    let (room, user) = (Topic::Room(scene.channel).to_string(), Topic::User(scene.bob.id).to_string());
    let other_channel = json!({"type": "MESSAGE", "channelId": uuid::Uuid::new_v4(), "seq": 1}).to_string();
    let other_user = json!({"type": "CHANNEL_ADDED", "userId": uuid::Uuid::new_v4(), "channelId": scene.channel});
    let payloads = [
        (&room, "not JSON"),
        (&room, ""),
        (&room, "[]"),
        (&room, r#"{"seq":1}"#),
        (&room, r#"{"type":"MESSAGE","channelId":"general","seq":1}"#),
        (&room, r#"{"type":"MESSAGE","channelId":7,"seq":"one"}"#),
        (&room, &other_channel),
        (&user, "not JSON"),
        (&user, r#"{"type":"CHANNEL_ADDED"}"#),
        (&user, &other_user.to_string()),
    ];
    for (topic, payload) in payloads {
        let heard = scene.system.redis().execute(&["PUBLISH", topic, payload]).await;
        assert_eq!(heard, ":1\r\n", "the instance hears {topic}");
    }
    scene.counted("chat_websocket_malformed_total", payloads.len() as u64).await;
    scene.goes_on().await;
    // The very next frame: none of the payloads reached the session.
    bob.expect("MESSAGE").await;
}

#[tokio::test]
async fn an_event_from_nowhere_is_neither_delivered_nor_does_it_stop_the_room() {
    let mut scene = Scene::start(System::builder()).await;
    let room = Topic::Room(scene.channel).to_string();
    let invented = json!({"type": "MESSAGE", "channelId": scene.channel, "seq": 9_999, "content": "invented"});
    scene.system.redis().execute(&["PUBLISH", &room, &invented.to_string()]).await;
    scene.counted("chat_websocket_out_of_order_total", 1).await;
    // Each message is the next one on the wire: the invented one never comes.
    for _ in 0..3 {
        let id = scene.alice.api.send(scene.channel, "real").await;
        assert_eq!(scene.witness.expect("MESSAGE").await["messageId"], id.to_string());
    }
}

#[tokio::test]
async fn an_unknown_type_without_a_seq_is_passed_on() {
    let mut scene = Scene::start(System::builder()).await;
    let room = Topic::Room(scene.channel).to_string();
    let signal = json!({"type": "CONFETTI", "channelId": scene.channel, "colour": "red"});
    scene.system.redis().execute(&["PUBLISH", &room, &signal.to_string()]).await;
    assert_eq!(scene.witness.expect("CONFETTI").await, signal);
    scene.goes_on().await;
}

#[tokio::test]
async fn hello_comes_first_whatever_is_heard_meanwhile() {
    let mut scene = Scene::start(System::builder().storage(Storage::Postgres).links()).await;
    // The instance hears the user first, and then asks storage whether the user may be here.
    scene.system.websocket_server(0).link_to_storage().unwrap().stall();
    let (url, token) = (scene.url(), scene.bob.token.clone());
    let mut signing_in = JoinSet::new();
    signing_in.spawn(async move { Stock::sign_in(&url, &token).await });
    let topic = Topic::User(scene.bob.id).to_string();
    let added = json!({"type": "CHANNEL_ADDED", "userId": scene.bob.id, "channelId": scene.channel}).to_string();
    wait_until("the instance hears the user", DEADLINE, async || {
        scene.system.redis().execute(&["PUBLISH", &topic, &added]).await == ":1\r\n"
    })
    .await;
    scene.system.websocket_server(0).link_to_storage().unwrap().mend();

    let mut bob = signing_in.join_next().await.unwrap().unwrap();
    assert_eq!(bob.expect("CHANNEL_ADDED").await["channelId"], json!(scene.channel));
}
