use crate::peer::{Peer, connect, next_closed, next_offline};

#[tokio::test]
async fn final_codes_end_the_client() {
    for code in [4501, 4502, 4503] {
        let peer = Peer::start().await;
        let (_client, mut items) = connect(&[&peer]);
        peer.welcome().await.close(code).await;
        assert_eq!(next_closed(&mut items).await, code);
    }
}

#[tokio::test]
async fn other_codes_bring_it_back() {
    let peer = Peer::start().await;
    let (_client, mut items) = connect(&[&peer]);
    for code in [1000, 1001, 1011, 4009, 4020, 4022] {
        peer.welcome().await.close(code).await;
        assert_eq!(next_offline(&mut items).await.0, Some(code));
    }
}

#[tokio::test]
async fn a_forbidden_upgrade_ends_it_and_a_busy_server_does_not() {
    let peer = Peer::start().await;
    let (_client, mut items) = connect(&[&peer]);
    peer.refuse(503).await;
    assert_eq!(next_offline(&mut items).await.0, Some(503));
    peer.refuse(403).await;
    assert_eq!(next_closed(&mut items).await, 403);
}

#[tokio::test]
async fn another_protocol_ends_it() {
    let peer = Peer::start().await;
    let (_client, mut items) = connect(&[&peer]);
    let mut link = peer.accept().await;
    link.send(serde_json::json!({
        "type": "HELLO", "protocol": 2, "sessionId": "s", "userId": crate::peer::channel(9), "heartbeatMs": 1, "maxFrameBytes": 1,
    }))
    .await;
    assert_eq!(next_closed(&mut items).await, 4503);
}

#[tokio::test]
async fn dropping_the_client_says_goodbye() {
    let peer = Peer::start().await;
    let (client, items) = connect(&[&peer]);
    let mut link = peer.welcome().await;
    drop(client);
    link.closed().await;
    drop(items);
}

#[tokio::test]
async fn dropping_the_items_says_goodbye() {
    let peer = Peer::start().await;
    let (client, items) = connect(&[&peer]);
    let mut link = peer.welcome().await;
    drop(items);
    link.closed().await;
    drop(client);
}

#[tokio::test]
async fn closing_waits_for_the_goodbye() {
    let peer = Peer::start().await;
    let (client, mut items) = connect(&[&peer]);
    let mut link = peer.welcome().await;
    tokio::join!(client.close(), link.closed());
    while items.recv().await.is_some() {}
}
