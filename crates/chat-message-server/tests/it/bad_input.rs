//! Requests that are wrong in form.

use std::{io::Write, net::TcpStream};

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Kind, World, answer, assert_problem, expect, get, refused, text};

const MESSAGES: &str = "/api/v1/messages";
const JSON: &str = "application/json";

#[tokio::test]
async fn what_is_no_json_is_malformed() {
    let world = World::new(Kind::Sqlite).await;
    for body in ["", "{", "hello", "{\"a\":1,}", "{} {}", "\u{0}", "{\"channelId\":\"\\ud800\"}"] {
        let request = world.request("alice", Method::POST, MESSAGES).header("content-type", JSON).body(body);
        assert_problem(&answer(request).await, MESSAGES, (400, "MALFORMED_JSON"));
    }
    let bytes = world.request("alice", Method::POST, MESSAGES).header("content-type", JSON).body(vec![b'"', 0xff]);
    assert_problem(&answer(bytes).await, MESSAGES, (400, "MALFORMED_JSON"));
    let deep = world.request("alice", Method::POST, MESSAGES).header("content-type", JSON).body("[".repeat(30_000));
    assert_eq!(answer(deep).await.status.as_u16(), 400);
}

#[tokio::test]
async fn wrong_fields_are_pointed_at() {
    let world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let with = |field: &str, value: Value| {
        let mut body = text(channel, "x");
        body[field] = value;
        body
    };
    let mut without = text(channel, "x");
    without.as_object_mut().unwrap().remove("payload");
    let cases = [
        (json!([]), ""),
        (json!({}), "/channelId"),
        (without, "/payload"),
        (with("channelId", json!(7)), "/channelId"),
        (with("channelId", json!("not a uuid")), "/channelId"),
        (with("messageType", json!("SONG")), "/messageType"),
        (with("payload", json!("text")), "/payload"),
        (with("payload", json!(["text"])), "/payload"),
        (with("payload", json!({"text": null})), "/payload/text"),
        (with("replyTo", json!(false)), "/replyTo"),
        (with("clientMessageId", json!(1)), "/clientMessageId"),
    ];
    for (body, pointer) in cases {
        let answer = refused(&alice, Method::POST, MESSAGES, Some(body.clone()), (400, "INVALID_BODY")).await;
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{body}");
        assert!(answer.body["errors"][0]["detail"].is_string());
    }
}

#[tokio::test]
async fn every_broken_rule_is_named() {
    let world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let message = |message_type: &str, payload: Value| json!({"channelId": channel, "messageType": message_type, "payload": payload, "clientMessageId": "x y"});
    let cases = [
        (message("TEXT", json!({"text": "x".repeat(5_001)})), vec!["/payload/text", "/clientMessageId"]),
        (message("TEXT", json!({"text": " \n"})), vec!["/payload/text", "/clientMessageId"]),
        (
            message("IMAGE", json!({"imageUrl": "javascript:x", "fileName": "", "fileSize": 10_485_761})),
            vec!["/payload/imageUrl", "/payload/fileName", "/payload/fileSize", "/clientMessageId"],
        ),
    ];
    for (body, pointers) in cases {
        let answer = refused(&alice, Method::POST, MESSAGES, Some(body), (422, "VALIDATION_FAILED")).await;
        let errors = answer.body["errors"].as_array().unwrap();
        assert_eq!(errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect::<Vec<_>>(), pointers);
    }
    // Characters are counted, not bytes.
    expect(&alice, Method::POST, MESSAGES, Some(text(channel, &"ü".repeat(5_000))), 201).await;
}

#[tokio::test]
async fn bodies_have_a_type_and_a_size() {
    let world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    let body = text(channel, "x").to_string();

    let untyped = world.request("alice", Method::POST, MESSAGES).body(body.clone());
    assert_problem(&answer(untyped).await, MESSAGES, (415, "UNSUPPORTED_MEDIA_TYPE"));
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let request = world.request("alice", Method::POST, MESSAGES).header("content-type", content_type);
        assert_problem(&answer(request.body(body.clone())).await, MESSAGES, (415, "UNSUPPORTED_MEDIA_TYPE"));
    }
    let typed =
        world.request("alice", Method::POST, MESSAGES).header("content-type", "application/json; charset=utf-8");
    assert_eq!(answer(typed.body(body)).await.status.as_u16(), 201);

    let large = text(channel, &"x".repeat(70_000));
    refused(&alice, Method::POST, MESSAGES, Some(large), (413, "BODY_TOO_LARGE")).await;
    let members = format!("/api/v1/channels/{channel}/members");
    let large = Some(json!({"pad": "x".repeat(70_000)}));
    refused(&alice, Method::POST, &members, large, (413, "BODY_TOO_LARGE")).await;
}

#[tokio::test]
async fn unknown_routes_methods_and_ids_are_problems_too() {
    let world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    for path in ["/api/v1/nothing", "/api/v2/messages", "/api/v1/messages/", "/favicon.ico"] {
        refused(&alice, Method::GET, path, None, (404, "ROUTE_NOT_FOUND")).await;
    }
    let put = refused(&alice, Method::PUT, "/api/v1/channels", None, (405, "METHOD_NOT_ALLOWED")).await;
    let allowed = put.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    for path in ["/api/v1/messages/7", "/api/v1/channels/x", "/api/v1/users/%00", "/api/v1/channels/%ff/members"] {
        refused(&alice, Method::GET, path, None, (400, "INVALID_PARAMETER")).await;
    }
}

/// What is no HTTP, and who leaves in the middle, harms nobody.
#[tokio::test]
async fn broken_connections_harm_nobody() {
    let world = World::new(Kind::Sqlite).await;
    let address = world.base.strip_prefix("http://").unwrap();
    for bytes in [
        "\u{1}\u{2}\u{3}\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /api/v1/messages HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
    ] {
        TcpStream::connect(address).unwrap().write_all(bytes.as_bytes()).unwrap();
    }
    get(&world.user("alice"), "/api/v1/users/me").await;
}
