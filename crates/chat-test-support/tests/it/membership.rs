//! Access ends with membership.

use chat_test_support::system::{Storage, System};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::stock::Stock;

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test]
async fn a_removed_member_hears_of_it_and_nothing_more(#[case] storage: Storage) {
    let mut scene = Scene::start(System::builder().storage(storage)).await;
    let mut bob = scene.bob_listens().await;
    let private = scene.alice.api.create_channel("PRIVATE", "inner circle", &[scene.bob.id]).await;
    for session in [&mut bob, &mut scene.witness] {
        session.until("CHANNEL_ADDED").await;
        session.subscribe(private).await;
    }

    scene.alice.api.remove_member(private, scene.bob.id).await;
    // Events and signals take different ways, so only the order of the events is promised.
    let (mut events, mut removed) = (Vec::new(), false);
    while events.len() < 2 || !removed {
        let frame = bob.next().await.expect("a frame");
        match frame["type"].as_str() {
            Some("CHANNEL_REMOVED") => removed = true,
            _ => events.push(frame),
        }
    }
    assert_eq!((&events[0]["type"], &events[0]["userId"]), (&json!("MEMBER_LEFT"), &json!(scene.bob.id)));
    assert_eq!((&events[1]["type"], &events[1]["reason"]), (&json!("UNSUBSCRIBED"), &json!("REMOVED")));

    // The other member hears what follows, on the same instance and at the same time; the removed one hears nothing.
    scene.alice.api.send(private, "among ourselves").await;
    assert_eq!(scene.witness.until("MESSAGE").await["content"], "among ourselves");
    let after = events[0]["seq"].as_u64().unwrap();
    bob.subscribe_after(private, after).await;
    assert_eq!(bob.expect_error("CHANNEL_NOT_FOUND").await["channelId"], json!(private));
    scene.goes_on().await;
    assert_eq!(bob.expect("MESSAGE").await["channelId"], json!(scene.channel));
}

#[tokio::test]
async fn a_new_member_is_told_in_all_its_sessions_and_can_listen_at_once() {
    let scene = Scene::start(System::builder()).await;
    let (mut one, mut other) = (scene.bob_listens().await, scene.bob_listens().await);
    let private = scene.alice.api.create_channel("PRIVATE", "inner circle", &[]).await;
    scene.alice.api.add_member(private, scene.bob.id).await;
    for session in [&mut one, &mut other] {
        let added = session.expect("CHANNEL_ADDED").await;
        assert_eq!((&added["userId"], &added["channelId"]), (&json!(scene.bob.id), &json!(private)));
        session.subscribe(private).await;
    }
    scene.alice.api.send(private, "welcome").await;
    for session in [&mut one, &mut other] {
        assert_eq!(session.expect("MESSAGE").await["content"], "welcome");
    }
}

#[tokio::test]
async fn a_closed_channel_says_so_last() {
    let mut scene = Scene::start(System::builder()).await;
    let mut bob = scene.bob_listens().await;
    let answer = scene.alice.api.call(Method::DELETE, &format!("/api/v1/channels/{}", scene.channel), None).await;
    assert!(answer.status.is_success(), "{} {}", answer.status, answer.body);
    for session in [&mut bob, &mut scene.witness] {
        session.expect("CHANNEL_CLOSED").await;
        assert_eq!(session.expect("UNSUBSCRIBED").await["reason"], "CHANNEL_CLOSED");
    }
}

#[tokio::test]
async fn a_message_has_the_documented_fields() {
    let scene = Scene::start(System::builder()).await;
    let mut stock = Stock::sign_in(&scene.url(), &scene.bob.token).await;
    let head = stock.subscribe(scene.channel).await["headSeq"].as_u64().unwrap();
    let answer = scene.alice.api.try_send(scene.channel, "hello", "from-alice-1").await.unwrap();
    let event = stock.expect("MESSAGE").await;

    assert_eq!(event["channelId"], json!(scene.channel));
    assert_eq!(event["seq"], head + 1);
    assert_eq!(event["messageId"], answer.body["messageId"]);
    assert_eq!(event["senderId"], json!(scene.alice.id));
    assert_eq!(event["messageType"], "TEXT");
    assert_eq!(event["content"], "hello");
    assert_eq!(event["status"], "SENT");
    assert_eq!(event["clientMessageId"], "from-alice-1");
    assert_eq!(event["payload"], json!({"text": "hello"}));
    assert!(event["sentAt"].as_str().is_some_and(|at| at.ends_with('Z')), "{event}");
    assert_eq!(event.get("replyTo"), None::<&Value>);
}
