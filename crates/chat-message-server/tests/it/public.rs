//! What needs no token, and what every answer has.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::world::{Kind, World, answer, get};

#[tokio::test]
async fn health_is_a_word() {
    let world = World::new(Kind::Sqlite).await;
    let response = world.anonymous(Method::GET, "/api/v1/messages/health").send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    assert_eq!(response.text().await.unwrap(), "OK");
}

#[tokio::test]
async fn the_document_changes_only_on_purpose() {
    let world = World::new(Kind::Sqlite).await;
    let document = answer(world.anonymous(Method::GET, "/api/v1/openapi.json")).await.body;
    insta::assert_json_snapshot!(document);
}

/// A reference to nothing, or an operation without an id, would break generated clients.
#[tokio::test]
async fn the_document_is_whole() {
    let world = World::new(Kind::Sqlite).await;
    let document = answer(world.anonymous(Method::GET, "/api/v1/openapi.json")).await.body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));

    let text = document.to_string();
    for reference in text.split("\"#/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(&format!("/{reference}")).is_some(), "{reference} does not exist");
    }
    let operations =
        || document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let ids: BTreeSet<_> = operations().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations().count());
    assert!(operations().all(|operation| operation["tags"][0].is_string()));
}

#[tokio::test]
async fn every_code_is_in_the_table_for_people() {
    let world = World::new(Kind::Sqlite).await;
    let document = answer(world.anonymous(Method::GET, "/api/v1/openapi.json")).await.body;
    let table = include_str!("../../../../docs/http.md");

    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let answers = operations.flat_map(|operation| operation["responses"].as_object().unwrap());
    let errors = answers.filter(|(status, _)| status.starts_with(['4', '5']));
    let mut codes = 0;
    for code in errors.flat_map(|(_, answer)| answer["description"].as_str().unwrap().split(", ")) {
        assert!(table.contains(code), "{code} is not in docs/http.md");
        codes += 1;
    }
    assert!(codes > 50, "{codes}");
}

#[tokio::test]
async fn the_documentation_needs_nothing_from_elsewhere() {
    let world = World::new(Kind::Sqlite).await;
    let page = world.anonymous(Method::GET, "/docs/").send().await.unwrap();
    assert_eq!(page.status().as_u16(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'self'"), "{policy}");
    let page = page.text().await.unwrap();
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        let response = world.anonymous(Method::GET, &format!("/docs/{file}")).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{file}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_by_name() {
    let world =
        World::with(Kind::Sqlite, |config| config.http.allowed_origins = vec!["https://app.example".into()]).await;
    let preflight = |origin: &str| {
        world
            .anonymous(Method::OPTIONS, "/api/v1/messages")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
    };
    let allowed = preflight("https://app.example").send().await.unwrap();
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://app.example");
    let methods = allowed.headers()["access-control-allow-methods"].to_str().unwrap();
    assert!(methods.contains("POST"), "{methods}");
    let other = preflight("https://evil.example").send().await.unwrap();
    assert!(!other.headers().contains_key("access-control-allow-origin"));

    let closed = World::new(Kind::Sqlite).await;
    let response = closed.anonymous(Method::GET, "/api/v1/messages/health").header("origin", "https://app.example");
    assert!(!response.send().await.unwrap().headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn traces_come_in_and_go_out() {
    let world = World::new(Kind::Sqlite).await;
    let trace = async |name: &str, value: &str| {
        let request = world.anonymous(Method::GET, "/api/v1/messages/health").header(name, value);
        request.send().await.unwrap().headers()["x-trace-id"].to_str().unwrap().to_owned()
    };
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(trace("traceparent", parent).await, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(trace("X-Trace-Id", "abc-1").await, "abc-1");
    assert_eq!(trace("X-Trace-Id", "not valid").await.len(), 32);
}

#[tokio::test]
async fn metrics_name_routes_and_no_ids() {
    let world = World::new(Kind::Sqlite).await;
    let alice = world.user("alice");
    let channel = alice.create_channel("PUBLIC", "room", &[]).await;
    alice.send(channel, "x").await;
    get(&alice, &format!("/api/v1/channels/{channel}")).await;
    answer(world.request("alice", Method::GET, "/api/v1/no-such-thing")).await;

    let metrics = world.metrics();
    for line in [
        r#"chat_http_requests_total{route="/api/v1/channels/{channelId}",method="GET",status="200"} 1"#,
        r#"chat_http_requests_total{route="unmatched",method="GET",status="404"} 1"#,
        r#"chat_http_request_duration_seconds_count{route="/api/v1/messages",method="POST"} 1"#,
        "chat_append_batch_size_sum 1.0",
        "chat_append_duration_seconds_count 1",
        "chat_append_queue_depth 0",
        "chat_publish_failures_total 0",
        "chat_publish_queue_depth 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains(&channel.to_string()));
}

#[tokio::test]
async fn the_client_is_served_always_and_the_page_by_choice() {
    let world = World::new(Kind::Sqlite).await;
    let client = world.anonymous(Method::GET, "/chat-client.js").send().await.unwrap();
    assert_eq!(client.status().as_u16(), 200);
    assert!(client.headers()["content-type"].to_str().unwrap().starts_with("text/javascript"));
    for path in ["/", "/demo/config"] {
        let hidden = answer(world.anonymous(Method::GET, path)).await;
        assert_eq!((hidden.status.as_u16(), &hidden.body["code"]), (404, &Value::from("ROUTE_NOT_FOUND")), "{path}");
    }
}
