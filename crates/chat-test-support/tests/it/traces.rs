//! What a collector receives, and what log lines say of a request.

use std::time::Duration;

use chat_domain::ChannelId;
use chat_test_support::system::{Server, System, TestUser};
use chat_test_support::wait_until;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::collector::{Collector, Received};
use crate::stock::{DEADLINE, Stock};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const TEXT: &str = "nobody but the room reads this";
/// Request, append, publish, and the deliveries of two instances.
const SPANS: usize = 5;

#[tokio::test]
async fn one_send_is_one_trace_through_every_process() {
    let collector = Collector::start().await;
    let builder = System::builder().websocket_servers(2).setting("CHAT_TRACE_OTLP_ENDPOINT", collector.url());
    let system = builder.setting("CHAT_TRACE_SAMPLE", "0").start().await;
    let alice = system.user("alice-in-traces").await;
    let channel = alice.api.create_channel("PUBLIC", "room", &[]).await;
    let mut listeners = Vec::new();
    for index in 0..2 {
        let mut stock = Stock::sign_in(&system.websocket_url(index), &alice.token).await;
        stock.subscribe(channel).await;
        listeners.push(stock);
    }

    let caller = format!("00-{TRACE}-{CALLER}-01");
    let answer = send(&system, &alice, channel, Some(&caller)).await;
    assert_eq!(answer.headers()["x-trace-id"], TRACE);
    let mut named = String::new();
    for stock in &mut listeners {
        named = stock.expect("MESSAGE").await["traceparent"].as_str().unwrap().to_owned();
    }
    let spans = collector.until(SPANS).await;

    let of = |name: &str| spans.iter().filter(|one| one.span.name == name).collect::<Vec<_>>();
    let one = |name: &str| -> &Received {
        let [one] = of(name)[..] else { panic!("one {name} in {spans:#?}") };
        one
    };
    let (request, append, publish) = (one("POST /api/v1/messages"), one("append"), one("publish"));
    let deliveries = of("deliver");
    assert_eq!(deliveries.len(), 2, "{spans:#?}");
    assert!(spans.iter().all(|one| one.trace() == TRACE), "{spans:#?}");
    assert_eq!(request.parent(), CALLER);
    assert_eq!(append.parent(), request.id());
    assert_eq!(publish.parent(), append.id());
    assert!(deliveries.iter().all(|one| one.parent() == publish.id()));
    assert_eq!(named, format!("00-{TRACE}-{}-01", publish.id()));

    assert!([request, append, publish].iter().all(|one| one.resource("service.name") == "chat-message-server"));
    assert!(deliveries.iter().all(|one| one.resource("service.name") == "chat-websocket-server"));
    assert_ne!(deliveries[0].resource("service.instance.id"), deliveries[1].resource("service.instance.id"));
    assert_eq!(request.attribute("http.response.status_code"), "201");
    assert_eq!(request.attribute("http.route"), "/api/v1/messages");
    for span in [append, publish, deliveries[0], deliveries[1]] {
        assert_eq!(span.attribute("chat.channel.id"), channel.to_string());
        assert!(span.span.start_time_unix_nano <= span.span.end_time_unix_nano);
    }
    assert_eq!(deliveries[0].attribute("chat.sessions"), "1");

    for parent in [Some(format!("00-{TRACE}-{CALLER}-00")), None] {
        send(&system, &alice, channel, parent.as_deref()).await;
        for stock in &mut listeners {
            let message = stock.expect("MESSAGE").await;
            assert_eq!(message.get("traceparent"), None, "{message}");
        }
    }
    // Had the others left spans, they would have come before these.
    send(&system, &alice, channel, Some(&caller)).await;
    assert_eq!(collector.until(2 * SPANS).await.len(), 2 * SPANS);
    for secret in [TEXT, "alice-in-traces", &*alice.token, system.secret()] {
        assert!(!collector.has_received(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_last_spans_go_out_before_the_end() {
    let collector = Collector::start().await;
    let builder = System::builder().websocket_servers(1).setting("CHAT_TRACE_OTLP_ENDPOINT", collector.url());
    let mut system = builder.message_setting("CHAT_TRACE_SAMPLE", "1").start().await;
    let alice = system.user("alice").await;
    let channel = alice.api.create_channel("PUBLIC", "room", &[]).await;
    let answer = send(&system, &alice, channel, None).await;
    // The collector shares this thread, so nothing may block it.
    let server = system.message_server(0);
    server.ask_to_stop();
    wait_until("the message server ends", DEADLINE, async || server.ended().is_some()).await;
    assert!(server.ended().is_some_and(|status| status.success()));

    let spans = collector.received();
    let mut names: Vec<_> = spans
        .iter()
        .filter(|one| answer.headers()["x-trace-id"] == one.trace())
        .map(|one| (one.span.name.as_str(), one.parent().is_empty()))
        .collect();
    names.sort_unstable();
    assert_eq!(names, [("POST /api/v1/messages", true), ("append", false), ("publish", false)], "{spans:#?}");
}

#[tokio::test]
async fn a_collector_that_hangs_holds_up_nothing() {
    const SENT: usize = 50;
    // The kernel takes connections, and nobody ever answers.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", deaf.local_addr().unwrap());
    let builder = System::builder().websocket_servers(1).setting("CHAT_TRACE_OTLP_ENDPOINT", endpoint);
    let mut system = builder.setting("CHAT_TRACE_SAMPLE", "1").start().await;
    let alice = system.user("alice").await;
    let channel = alice.api.create_channel("PUBLIC", "room", &[]).await;
    let mut stock = Stock::sign_in(&system.websocket_url(0), &alice.token).await;
    stock.subscribe(channel).await;
    for _ in 0..SENT {
        // Less than the collector may take.
        let sent = timeout(Duration::from_secs(2), send(&system, &alice, channel, None)).await;
        assert_eq!(sent.expect("a send does not wait for the collector").status(), 201);
        stock.expect("MESSAGE").await;
    }
    let complaints = |server: &Server| server.log().matches("the collector takes no traces").count();
    let server = system.message_server(0);
    wait_until("the loss is logged", DEADLINE, async || complaints(server) == 1).await;
    assert!(server.stop().success());
    assert_eq!(complaints(server), 1);
}

#[tokio::test]
async fn log_lines_say_of_which_request_they_are() {
    let builder = System::builder().websocket_servers(1).setting("CHAT_LOG_FORMAT", "json");
    let builder = builder.message_setting("CHAT_LOG_FILTER", "warn,chat_message_server=debug");
    let mut system = builder.websocket_setting("CHAT_LOG_FILTER", "warn,chat_websocket_server=debug").start().await;
    let alice = system.user("alice").await;
    let url = format!("{}/api/v1/channels?limit=1&access_token=hush", system.http_url(0));
    let client = reqwest::Client::new();
    client.get(url).bearer_auth(&alice.token).header("x-trace-id", "over-http").send().await.unwrap();
    let line = line_of(system.message_server(0), "over-http", "answered").await;
    assert_eq!(line["user.id"], alice.id.to_string());
    assert_eq!((&line["http.request.method"], &line["http.route"]), (&json!("GET"), &json!("/api/v1/channels")));
    assert_eq!(line["url.path"], "/api/v1/channels");
    assert!(line["request.id"].is_string(), "{line}");

    let url = format!("{}?access_token={}", system.websocket_url(0), alice.token);
    let refused = client.get(url.replace("ws://", "http://")).header("x-trace-id", "refused").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["x-trace-id"]), (426, &"refused".parse().unwrap()));
    let problem: Value = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["traceId"], "refused");
    let line = line_of(system.websocket_server(0), "refused", "upgrade refused").await;
    assert_eq!((&line["url.path"], &line["http.request.method"]), (&json!("/ws/chat"), &json!("GET")));

    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-00").parse().unwrap());
    let (socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["x-trace-id"], TRACE);
    drop(socket);
    let line = line_of(system.websocket_server(0), TRACE, "session ended").await;
    assert_eq!(line["user.id"], alice.id.to_string());
    assert!(line["session.id"].is_string(), "{line}");

    for log in [system.message_server(0).log(), system.websocket_server(0).log()] {
        assert!(!log.contains("hush") && !log.contains(&alice.token), "{log}");
    }
}

/// The log line with this trace id and message, once it is there.
async fn line_of(server: &Server, trace_id: &str, message: &str) -> Value {
    let find = || {
        let lines = server.log();
        let mut lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["trace.id"] == trace_id && line["message"] == message)
    };
    wait_until(&format!("{message} is logged"), DEADLINE, async || find().is_some()).await;
    find().unwrap()
}

async fn send(system: &System, user: &TestUser, channel: ChannelId, traceparent: Option<&str>) -> reqwest::Response {
    let body = json!({"channelId": channel, "messageType": "TEXT", "payload": {"text": TEXT}}).to_string();
    let mut request = reqwest::Client::new()
        .post(format!("{}/api/v1/messages", system.http_url(0)))
        .bearer_auth(&user.token)
        .header("content-type", "application/json")
        .body(body);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    request.send().await.unwrap().error_for_status().unwrap()
}
