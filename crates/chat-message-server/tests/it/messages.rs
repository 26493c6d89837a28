//! Sending and reading messages.

use chat_events::Topic;
use common_auth::Role;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use crate::world::{Kind, World, answer, expect, get, nobody, refused, text, user_id};

const MESSAGES: &str = "/api/v1/messages";

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn a_sent_message_is_answered_stored_and_published_alike(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let ear = world.hear(Topic::Room(channel)).await;

    let mut body = text(channel, "hello – ü 🦀");
    body["clientMessageId"] = "c-1".into();
    let sent =
        answer(world.request("alice", Method::POST, MESSAGES).header("X-Trace-Id", "my-trace").json(&body)).await;

    assert_eq!(sent.status.as_u16(), 201, "{}", sent.body);
    let id = sent.body["messageId"].as_str().unwrap();
    assert_eq!(sent.headers["location"], format!("{MESSAGES}/{id}"));
    assert_eq!(sent.headers["cache-control"], "no-store");
    assert_eq!(sent.headers["x-trace-id"], "my-trace");
    let expected = json!({
        "messageId": id, "channelId": channel, "seq": 1, "senderId": user_id("alice"), "messageType": "TEXT",
        "content": "hello – ü 🦀", "status": "SENT", "sentAt": sent.body["sentAt"], "clientMessageId": "c-1",
        "payload": {"text": "hello – ü 🦀"},
    });
    assert_eq!(sent.body, expected);
    assert_eq!(get(&alice, &format!("{MESSAGES}/{id}")).await, expected);

    let published = ear.payloads(1).await;
    let events = answer(world.request("alice", Method::GET, &format!("/api/v1/channels/{channel}/events"))).await;
    assert_eq!(events.body["items"][0]["traceId"], "my-trace");
    let raw = world.request("alice", Method::GET, &format!("/api/v1/channels/{channel}/events")).send().await.unwrap();
    let raw = raw.text().await.unwrap();
    assert!(raw.starts_with(&format!(r#"{{"items":[{}],"#, published[0])), "byte for byte:\n{raw}\n{}", published[0]);
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn every_type_of_content_comes_back_as_it_was_sent(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.with_roles("alice", &[Role::Admin]);
    let channel = alice.create_channel("GROUP", "room", &[]).await;
    let file = json!({"fileUrl": "/f", "fileName": "a.bin", "fileSize": 8, "mimeType": "video/mp4"});
    let contents = [
        ("TEXT", json!({"text": "words\nin \"lines\""}), "words\nin \"lines\""),
        ("SYSTEM", json!({"text": "maintenance"}), "maintenance"),
        ("IMAGE", json!({"imageUrl": "https://cdn.example/a.png", "fileName": "a.png", "fileSize": 7}), "a.png"),
        ("FILE", file.clone(), "a.bin"),
        ("VIDEO", file.clone(), "a.bin"),
        ("AUDIO", file, "a.bin"),
    ];
    for (message_type, payload, content) in contents {
        let body = json!({"channelId": channel, "messageType": message_type, "payload": payload});
        let sent = expect(&alice, Method::POST, MESSAGES, Some(body), 201).await;
        let read = get(&alice, &format!("{MESSAGES}/{}", sent["messageId"].as_str().unwrap())).await;
        assert_eq!(read, sent);
        assert_eq!((&read["payload"], read["content"].as_str()), (&payload, Some(content)));
    }
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn a_repeat_is_the_first_message_again(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let mut body = text(channel, "once");
    body["clientMessageId"] = "c-1".into();

    let first = expect(&alice, Method::POST, MESSAGES, Some(body.clone()), 201).await;
    let again = expect(&alice, Method::POST, MESSAGES, Some(body.clone()), 200).await;
    assert_eq!(again, first);
    let by_header = answer(
        world.request("alice", Method::POST, MESSAGES).header("Idempotency-Key", "c-1").json(&text(channel, "once")),
    )
    .await;
    assert_eq!((by_header.status.as_u16(), &by_header.body), (200, &first));
    assert!(by_header.headers.contains_key("location"));

    body["payload"]["text"] = "twice".into();
    refused(&alice, Method::POST, MESSAGES, Some(body.clone()), (409, "CLIENT_MESSAGE_ID_REUSED")).await;
    let differing = world.request("alice", Method::POST, MESSAGES).header("Idempotency-Key", "c-2").json(&body);
    crate::world::assert_problem(&answer(differing).await, MESSAGES, (400, "IDEMPOTENCY_KEY_MISMATCH"));
    assert_eq!(get(&alice, &format!("/api/v1/channels/{channel}")).await["headSeq"], 1);
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn a_reply_stays_in_its_channel(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice");
    let (here, there) =
        (alice.create_channel("GROUP", "here", &[]).await, alice.create_channel("GROUP", "there", &[]).await);
    let first = alice.send(here, "question").await;

    let mut reply = text(here, "answer");
    reply["replyTo"] = json!(first);
    let sent = expect(&alice, Method::POST, MESSAGES, Some(reply.clone()), 201).await;
    assert_eq!(sent["replyTo"], json!(first));
    reply["channelId"] = json!(there);
    refused(&alice, Method::POST, MESSAGES, Some(reply), (404, "REPLY_TARGET_NOT_FOUND")).await;
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn only_members_of_active_channels_send(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let public = alice.create_channel("PUBLIC", "open", &[]).await;
    let private = alice.create_channel("PRIVATE", "closed", &[]).await;
    let message = alice.send(private, "secret").await;

    refused(&bob, Method::POST, MESSAGES, Some(text(public, "x")), (403, "NOT_A_MEMBER")).await;
    refused(&bob, Method::POST, MESSAGES, Some(text(private, "x")), (404, "CHANNEL_NOT_FOUND")).await;
    refused(&bob, Method::GET, &format!("{MESSAGES}/{message}"), None, (404, "MESSAGE_NOT_FOUND")).await;
    refused(&bob, Method::GET, &format!("{MESSAGES}/{}", nobody()), None, (404, "MESSAGE_NOT_FOUND")).await;
    let mut unknown = text(public, "x");
    unknown["channelId"] = json!(nobody());
    refused(&alice, Method::POST, MESSAGES, Some(unknown), (404, "CHANNEL_NOT_FOUND")).await;

    expect(&alice, Method::DELETE, &format!("/api/v1/channels/{public}"), None, 204).await;
    refused(&alice, Method::POST, MESSAGES, Some(text(public, "x")), (422, "CHANNEL_INACTIVE")).await;
}

#[tokio::test]
async fn system_messages_need_a_role() {
    let world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let body = json!({"channelId": channel, "messageType": "SYSTEM", "payload": {"text": "maintenance"}});

    refused(&alice, Method::POST, MESSAGES, Some(body.clone()), (403, "FORBIDDEN")).await;
    for role in [Role::Service, Role::Admin] {
        expect(&world.with_roles("alice", &[role]), Method::POST, MESSAGES, Some(body.clone()), 201).await;
    }
}

/// A text that PostgreSQL cannot keep must not take others with it.
#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[tokio::test]
async fn an_odd_text_harms_nobody(#[case] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    for odd in ["nul \u{0} inside", "\u{feff}bom", "\u{202e}turned", "\u{10ffff}"] {
        let sent = expect(&alice, Method::POST, MESSAGES, Some(text(channel, odd)), 201).await;
        assert_eq!(sent["payload"]["text"], odd);
    }
    assert_eq!(alice.events(channel, 0, 50).await.len(), 4);
}
