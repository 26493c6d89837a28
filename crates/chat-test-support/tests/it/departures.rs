//! Access ends with the event that ends it, also when its publication is lost.

use std::time::Duration;

use chat_domain::ChannelId;
use chat_test_support::http_api::HttpApi;
use chat_test_support::system::{Storage, System};
use common_auth::Role;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::scene::{Loss, Scene};
use crate::stock::Stock;

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test]
async fn a_removal_that_was_not_heard_ends_access_all_the_same(
    #[case] storage: Storage,
    // With a message that is heard right after it, and with nothing after it that is heard.
    #[values(1, 0)] server_of_the_next_message: usize,
) {
    let mut scene = Scene::start(System::builder().storage(storage).message_servers(2).links()).await;
    let (mut bob, private) = inner_circle(&mut scene).await;
    scene.system.message_server(0).link_to_redis().unwrap().stall();

    scene.alice.api.remove_member(private, scene.bob.id).await;
    let next = scene.alice.api_at(scene.system.http_url(server_of_the_next_message));
    let secret = next.send(private, "among ourselves").await;

    let left = bob.expect("MEMBER_LEFT").await;
    assert_eq!(left["userId"], json!(scene.bob.id));
    assert_eq!(bob.expect("UNSUBSCRIBED").await["reason"], "REMOVED");
    scene.witness.until("MEMBER_LEFT").await;
    assert_eq!(scene.witness.expect("MESSAGE").await["messageId"], secret.to_string());

    hears_the_public_channel_next(&scene, &mut bob).await;
}

#[rstest]
#[case::sqlite(Storage::Sqlite)]
#[case::postgres(Storage::Postgres)]
#[tokio::test]
async fn the_end_of_a_channel_that_was_not_heard_comes_all_the_same(#[case] storage: Storage) {
    let mut scene = Scene::start(System::builder().storage(storage).message_servers(2).links()).await;
    let (mut bob, private) = inner_circle(&mut scene).await;
    scene.system.message_server(0).link_to_redis().unwrap().stall();

    scene.alice.api.send(private, "the last word").await;
    let answer = scene.alice.api.call(Method::DELETE, &format!("/api/v1/channels/{private}"), None).await;
    assert!(answer.status.is_success(), "{} {}", answer.status, answer.body);

    for session in [&mut bob, &mut scene.witness] {
        assert_eq!(session.expect("MESSAGE").await["content"], "the last word");
        session.expect("CHANNEL_CLOSED").await;
        assert_eq!(session.expect("UNSUBSCRIBED").await["reason"], "CHANNEL_CLOSED");
    }
    hears_the_public_channel_next(&scene, &mut bob).await;
}

/// A ban is no event of a channel, so only the user's status in storage can tell of it.
#[rstest]
#[tokio::test]
async fn a_ban_that_was_not_heard_ends_the_session_all_the_same(
    #[values(Storage::Sqlite, Storage::Postgres)] storage: Storage,
    // Five seconds and one are promised; the rest is for a busy machine.
    #[values((Loss::Unnoticed, 8), (Loss::RedisAway, 3))] (loss, seconds): (Loss, u64),
) {
    let mut scene = Scene::start(System::builder().storage(storage).links()).await;
    let mut bob = scene.bob_listens().await;
    let admin = scene.system.user_with_roles("root", &[Role::Admin]).await;
    loss.strike(&mut scene.system).await;

    let path = format!("/api/v1/admin/users/{}", scene.bob.id);
    let answer = admin.api.call(Method::PATCH, &path, Some(json!({"status": "BANNED"}))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let banned = Instant::now();
    let told = timeout(Duration::from_secs(seconds), bob.expect("USER_STATUS_CHANGED")).await.expect("in time");
    assert_eq!(told["status"], "BANNED");
    assert_eq!(bob.close_code().await, Some(4501));
    println!("closed after {:?}", banned.elapsed());

    scene.counted("chat_websocket_bans_found_total", 1).await;
    scene.goes_on().await;
}

/// Enough for a replay to wait for its reader: far more than all buffers on the way hold.
const LARGE_MESSAGES: usize = 400;
const READ_BEFORE: usize = 5;

#[rstest]
#[case::heard(false)]
#[case::lost(true)]
#[tokio::test]
async fn who_is_removed_during_a_replay_gets_nothing_beyond(#[case] lost: bool) {
    let builder = System::builder().message_servers(2).links().message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0");
    let mut scene = Scene::start(builder).await;
    let private = scene.alice.api.create_channel("PRIVATE", "inner circle", &[scene.bob.id]).await;
    let text = "🦀".repeat(5_000);
    for _ in 0..LARGE_MESSAGES {
        scene.alice.api.send(private, &text).await;
    }
    scene.witness.until("CHANNEL_ADDED").await;
    scene.witness.subscribe(private).await;

    let mut bob = Stock::sign_in(&scene.url(), &scene.bob.token).await;
    bob.subscribe(scene.channel).await;
    bob.subscribe_after(private, 0).await;
    for seq in 1..=READ_BEFORE {
        assert_eq!(bob.next().await.unwrap()["seq"], seq);
    }
    if lost {
        scene.system.message_server(0).link_to_redis().unwrap().stall();
    }
    scene.alice.api.remove_member(private, scene.bob.id).await;
    let secret = scene.alice.api_at(scene.system.http_url(1)).send(private, "among ourselves").await;
    let left = scene.witness.until("MEMBER_LEFT").await["seq"].as_u64().unwrap();
    assert_eq!(scene.witness.expect("MESSAGE").await["messageId"], secret.to_string());

    let mut last = READ_BEFORE as u64;
    loop {
        let frame = bob.next().await.expect("the session stays");
        match frame["type"].as_str() {
            Some("UNSUBSCRIBED") => {
                assert_eq!(frame["reason"], "REMOVED");
                break;
            }
            Some("CHANNEL_REMOVED" | "SUBSCRIBED") => {}
            _ => {
                assert_eq!(frame["seq"], last + 1, "{frame}");
                last += 1;
                assert!(last <= left, "{frame}");
            }
        }
    }
    hears_the_public_channel_next(&scene, &mut bob).await;
}

/// A PRIVATE channel with bob, who has the public one open too, and with the witness.
async fn inner_circle(scene: &mut Scene) -> (Stock, ChannelId) {
    let mut bob = scene.bob_listens().await;
    let private = scene.alice.api.create_channel("PRIVATE", "inner circle", &[scene.bob.id]).await;
    for session in [&mut bob, &mut scene.witness] {
        session.until("CHANNEL_ADDED").await;
        session.subscribe(private).await;
    }
    (bob, private)
}

/// The very next event on the session is one of the public channel: nothing else came.
async fn hears_the_public_channel_next(scene: &Scene, session: &mut Stock) {
    let api: HttpApi = scene.alice.api_at(scene.system.http_url(1));
    let id = api.send(scene.channel, "still here").await;
    let mut frame = session.next().await.expect("a frame");
    // A signal to the user, which has a way of its own.
    if frame["type"] == "CHANNEL_REMOVED" {
        frame = session.next().await.expect("a frame");
    }
    assert_eq!(frame["messageId"], id.to_string(), "{frame}");
}
