//! Clients that take too much or give nothing back.

use chat_domain::ChannelId;
use chat_test_support::system::System;
use chat_test_support::wait_until;
use serde_json::json;

use crate::scene::{Scene, counter};
use crate::stock::{DEADLINE, Stock};

#[tokio::test]
async fn a_session_has_only_so_many_channels() {
    let builder = System::builder().websocket_setting("CHAT_LIMITS_CHANNELS_PER_SESSION", "2");
    let mut scene = Scene::start(builder).await;
    let mut stock = scene.bob_listens().await;
    let other = scene.bob.api.create_channel("PUBLIC", "second", &[]).await;
    let third = scene.bob.api.create_channel("PUBLIC", "third", &[]).await;
    stock.until("CHANNEL_ADDED").await;
    stock.until("CHANNEL_ADDED").await;

    stock.subscribe(other).await;
    stock.send(json!({"type": "SUBSCRIBE", "id": 1, "channels": [{"channelId": third}]})).await;
    assert_eq!(stock.expect_error("TOO_MANY_CHANNELS").await["channelId"], json!(third));

    let ids: Vec<ChannelId> = vec![scene.channel, other, third];
    let channels: Vec<_> = ids.iter().map(|id| json!({"channelId": id})).collect();
    stock.send(json!({"type": "SUBSCRIBE", "id": 2, "channels": channels})).await;
    assert_eq!(stock.expect_error("TOO_MANY_CHANNELS").await["id"], 2);

    stock.send(json!({"type": "UNSUBSCRIBE", "id": 3, "channelIds": [other]})).await;
    assert_eq!(stock.expect("UNSUBSCRIBED").await["reason"], "REQUESTED");
    stock.subscribe(third).await;
    scene.goes_on().await;
}

#[tokio::test]
async fn a_user_has_only_so_many_connections() {
    let builder = System::builder().websocket_setting("CHAT_LIMITS_CONNECTIONS_PER_USER", "2");
    let mut scene = Scene::start(builder).await;
    let (_first, _second) = (scene.bob_listens().await, scene.bob_listens().await);
    let authorization = format!("Bearer {}", scene.bob.token);
    let mut third = Stock::connect(&scene.url(), &[("authorization", &authorization)]).await.expect("an upgrade");
    assert_eq!(third.close_code().await, Some(4502));
    scene.goes_on().await;
}

#[tokio::test]
async fn frames_over_the_rate_are_refused_and_a_flood_ends_with_4008() {
    let mut scene = Scene::start(System::builder()).await;
    let mut stock = scene.bob_listens().await;
    stock.send_many((0..2_000).map(|id| json!({"type": "PING", "id": id}))).await;

    let (refused, code) = errors_until_close(&mut stock, "RATE_LIMITED").await;
    assert!(refused > 0, "no warning before the end");
    assert_eq!(code, Some(4008));
    scene.goes_on().await;
}

/// How many errors of this code came before the close code.
async fn errors_until_close(stock: &mut Stock, error: &str) -> (u32, Option<u16>) {
    let mut errors = 0;
    loop {
        match stock.next().await {
            Ok(frame) if frame["code"] == error => {
                assert_eq!(frame["retryable"], true);
                assert!(frame["retryAfterMs"].as_u64().is_some_and(|after| after > 0), "{frame}");
                errors += 1;
            }
            Ok(_) => {}
            Err(code) => return (errors, code),
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_as_a_slow_consumer_and_resumes() {
    let builder = System::builder()
        .message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0")
        .websocket_setting("CHAT_LIMITS_WRITE_TIMEOUT", "1s");
    let mut scene = Scene::start(builder).await;
    let mut slow = scene.bob_listens().await;

    // The longest text there may be, in the longest characters: few messages fill all buffers on the way.
    let text = "🦀".repeat(5_000);
    let closed = r#"chat_websocket_closed_total{code="4020"}"#;
    let mut sent = 0;
    while counter(scene.system.websocket_server(0), closed).await == 0 {
        assert!(sent < 2_000, "40 MB are sent and nobody minds that they are not read");
        for _ in 0..25 {
            scene.alice.api.send(scene.channel, &text).await;
            sent += 1;
            assert_eq!(scene.witness.until("MESSAGE").await["content"], text, "the other session goes on");
        }
    }

    // What did come is in order; the rest comes after the return.
    let mut seqs = Vec::new();
    while let Ok(frame) = slow.next().await {
        seqs.extend(frame["seq"].as_u64());
    }
    let first = seqs.first().copied().expect("something came");
    assert!(seqs.iter().copied().eq(first..first + seqs.len() as u64), "{seqs:?}");
    assert!(seqs.len() < sent, "all came, so why was it closed?");

    let last = first + seqs.len() as u64 - 1;
    let mut back = Stock::sign_in(&scene.url(), &scene.bob.token).await;
    back.subscribe_after(scene.channel, last).await;
    for seq in last + 1..first + sent as u64 {
        assert_eq!(back.expect("MESSAGE").await["seq"], seq);
    }
    back.expect("SUBSCRIBED").await;
}

#[tokio::test]
async fn a_client_without_a_sign_of_life_is_closed_with_4009() {
    let builder = System::builder().websocket_setting("CHAT_LIMITS_HEARTBEAT", "1s");
    let mut scene = Scene::start(builder).await;
    // A stock client answers pings when it reads, so one that does not read shows no life.
    let silent = Stock::sign_in(&scene.url(), &scene.bob.token).await;
    let server = scene.system.websocket_server(0);
    let closed = r#"chat_websocket_closed_total{code="4009"}"#;
    tokio::select! {
        () = wait_until("the silent session is closed", DEADLINE, async || counter(server, closed).await == 1) => {}
        // The witness reads, so it answers the pings.
        message = scene.witness.expect("MESSAGE") => panic!("{message}"),
    }
    assert_eq!(silent.close_code_without_answers().await, Some(4009));
    scene.goes_on().await;
}
