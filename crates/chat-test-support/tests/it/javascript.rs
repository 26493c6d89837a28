//! The JavaScript client: its own tests, and its promises against real servers.

use std::path::PathBuf;
use std::time::Duration;

use chat_test_support::node::Node;
use chat_test_support::system::System;
use chat_test_support::wait_until;
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(120);
const MESSAGES: usize = 60;

pub(crate) fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "chat-message-server", "web", "tests"].iter().collect()
}

#[tokio::test]
async fn the_client_passes_its_own_tests() {
    let mut node = Node::start(&folder(), &["--test", "pure.test.js", "client.test.js"]);
    let (status, output) = node.end(DEADLINE).await;
    assert!(status.success(), "{output}");
}

#[tokio::test]
async fn it_sends_and_hears_everything_once_and_in_order_while_servers_die() {
    let mut system = System::builder().websocket_servers(2).start().await;
    let (alice, bob) = (system.user("alice").await, system.user("bob").await);
    let channel = alice.api.create_channel("GROUP", "Lunch", &[bob.id]).await;
    let task = json!({
        "httpUrl": system.http_url(0),
        "wsUrls": [system.websocket_url(0), system.websocket_url(1)],
        "sender": alice.token,
        "listener": bob.token,
        "channelId": channel,
        "messages": MESSAGES,
    });
    let mut node = Node::start(&folder(), &["roundtrip.js", &task.to_string()]);
    let heard = |count: usize| format!("heard {count}\n");

    wait_until("ten messages", DEADLINE, async || node.output().contains(&heard(10))).await;
    system.websocket_server(0).kill();
    wait_until("twenty messages", DEADLINE, async || node.output().contains(&heard(20))).await;
    system.message_server(0).restart().await;
    wait_until("thirty messages", DEADLINE, async || node.output().contains(&heard(30))).await;
    system.websocket_server(0).restart().await;
    system.websocket_server(1).kill();
    wait_until("forty messages", DEADLINE, async || node.output().contains(&heard(40))).await;
    system.websocket_server(0).stop();
    system.websocket_server(1).restart().await;

    let (status, output) = node.end(DEADLINE).await;
    assert!(status.success(), "{output}");
    let events: Vec<Value> = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    let expected: Vec<_> = (0..MESSAGES).map(|number| json!(format!("message {number}"))).collect();
    let contents: Vec<_> =
        events.iter().filter(|event| event["type"] == "MESSAGE").map(|event| event["content"].clone()).collect();
    assert_eq!(contents, expected);
    let logged = alice.api.events(channel, 0, 200).await;
    let seqs = |events: &[Value]| events.iter().map(|event| event["seq"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(seqs(&events), seqs(&logged));
}
