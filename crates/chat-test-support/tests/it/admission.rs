//! Who is let in, and who is told why not.

use chat_test_support::system::System;
use chat_test_support::tokens;
use common_auth::Role;
use reqwest::Method;
use serde_json::json;

use crate::scene::Scene;
use crate::stock::Stock;

const FORGER: &str = "another secret, also of thirty-two bytes or more";

#[tokio::test]
async fn bad_tokens_are_refused_before_the_upgrade() {
    let mut scene = Scene::start(System::builder()).await;
    let (url, secret) = (scene.url(), scene.system.secret().to_owned());
    let forged = tokens::issue(FORGER, "bob", &[Role::User]);
    let expired = tokens::issue_for(&secret, "bob", &[Role::User], -3_600);

    for token in [forged.as_str(), &expired, "", "nonsense", "a.b.c"] {
        let refused = Stock::connect(&url, &[("authorization", &format!("Bearer {token}"))]).await;
        let (status, _) = refused.expect_err("a refusal");
        assert_eq!(status, 401, "{token:?}");
        let refused = Stock::connect(&format!("{url}?access_token={token}"), &[]).await;
        assert_eq!(refused.expect_err("a refusal").0, 401, "{token:?} in the address");
    }
    scene.goes_on().await;
}

#[tokio::test]
async fn a_token_in_the_address_will_do() {
    let mut scene = Scene::start(System::builder()).await;
    let url = format!("{}?access_token={}&roomId={}", scene.url(), scene.bob.token, scene.channel);
    let mut stock = Stock::connect(&url, &[]).await.expect("an upgrade");
    assert_eq!(stock.expect("HELLO").await["userId"], scene.bob.id.to_string());
    assert_eq!(stock.expect("SUBSCRIBED").await["channelId"], scene.channel.to_string());
    scene.alice.api.send(scene.channel, "hello").await;
    assert_eq!(stock.expect("MESSAGE").await["content"], "hello");

    let log = scene.system_log();
    assert!(!log.contains(&scene.bob.token), "a token is in the log");
}

#[tokio::test]
async fn bad_tokens_in_auth_frames_are_refused_with_4004() {
    let mut scene = Scene::start(System::builder()).await;
    let (url, secret) = (scene.url(), scene.system.secret().to_owned());
    let forged = tokens::issue(FORGER, "bob", &[Role::User]);
    let expired = tokens::issue_for(&secret, "bob", &[Role::User], -3_600);

    for (token, code) in [(forged, "TOKEN_INVALID"), ("x".to_owned(), "TOKEN_INVALID"), (expired, "TOKEN_EXPIRED")] {
        let mut stock = Stock::connect(&url, &[]).await.expect("an upgrade");
        stock.send(json!({"type": "AUTH", "token": token})).await;
        stock.expect_error(code).await;
        assert_eq!(stock.close_code().await, Some(4004));
    }
    scene.goes_on().await;
}

#[tokio::test]
async fn frames_before_auth_are_refused_and_silence_ends_with_4003() {
    let builder = System::builder().websocket_setting("CHAT_LIMITS_AUTH_TIMEOUT", "2500ms");
    let mut scene = Scene::start(builder).await;

    let mut stock = Stock::connect(&scene.url(), &[]).await.expect("an upgrade");
    stock.send(json!({"type": "SUBSCRIBE", "id": 5, "channels": [{"channelId": scene.channel}]})).await;
    assert_eq!(stock.expect_error("NOT_AUTHENTICATED").await["id"], 5);
    stock.send(json!({"type": "AUTH", "token": scene.bob.token})).await;
    stock.expect("HELLO").await;

    let mut silent = Stock::connect(&scene.url(), &[]).await.expect("an upgrade");
    assert_eq!(silent.close_code().await, Some(4003));
    scene.goes_on().await;
}

#[tokio::test]
async fn a_token_that_expires_ends_its_session_and_a_renewed_one_does_not() {
    let builder =
        System::builder().websocket_setting("CHAT_LIMITS_HEARTBEAT", "1s").websocket_setting("CHAT_AUTH_LEEWAY", "0s");
    let mut scene = Scene::start(builder).await;
    let brief = tokens::issue_for(scene.system.secret(), "bob", &[Role::User], 5);

    let mut left = Stock::sign_in(&scene.url(), &brief).await;
    let mut renewed = Stock::sign_in(&scene.url(), &brief).await;
    renewed.send(json!({"type": "AUTH", "token": scene.bob.token})).await;
    renewed.expect("HELLO").await;

    renewed.subscribe(scene.channel).await;

    // Read side by side, so that all of them answer the pings.
    let code = tokio::select! {
        code = left.close_code() => code,
        message = renewed.expect("MESSAGE") => panic!("{message}"),
        message = scene.witness.expect("MESSAGE") => panic!("{message}"),
    };
    assert_eq!(code, Some(4004));
    scene.goes_on().await;
    renewed.until("MESSAGE").await;
}

#[tokio::test]
async fn a_foreign_origin_is_refused() {
    let builder = System::builder().websocket_setting("CHAT_WEBSOCKET_ALLOWED_ORIGINS", "https://chat.example");
    let mut scene = Scene::start(builder).await;
    let authorization = format!("Bearer {}", scene.bob.token);
    let connect =
        async |origin| Stock::connect(&scene.url(), &[("origin", origin), ("authorization", &authorization)]).await;
    assert_eq!(connect("https://evil.example").await.expect_err("a refusal").0, 403);
    assert!(connect("https://chat.example").await.is_ok());
    scene.goes_on().await;
}

#[tokio::test]
async fn a_banned_user_is_sent_away_and_not_let_in_again() {
    let mut scene = Scene::start(System::builder()).await;
    let admin = scene.system.user_with_roles("root", &[Role::Admin]).await;
    let mut stock = scene.bob_listens().await;

    let path = format!("/api/v1/admin/users/{}", scene.bob.id);
    let answer = admin.api.call(Method::PATCH, &path, Some(json!({"status": "BANNED"}))).await;
    assert!(answer.status.is_success(), "{} {}", answer.status, answer.body);

    assert_eq!(stock.until("USER_STATUS_CHANGED").await["status"], "BANNED");
    assert_eq!(stock.close_code().await, Some(4501));

    let authorization = format!("Bearer {}", scene.bob.token);
    let mut again = Stock::connect(&scene.url(), &[("authorization", &authorization)]).await.expect("an upgrade");
    assert_eq!(again.close_code().await, Some(4501));
    scene.goes_on().await;
}
