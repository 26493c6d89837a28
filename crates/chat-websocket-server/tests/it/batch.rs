//! One client that comes back to many channels, over a real socket.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chat_domain::{SystemClock, UserId};
use chat_websocket_server::{
    app::session_limits,
    config::LimitsConfig,
    session::{Connection, SessionContext},
};
use common_auth::{AuthConfig, Principal, TokenVerifier, UnixTime};
use common_logging::TraceId;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{DEADLINE, World};

const CHANNELS: usize = 50;
const MISSED: u64 = 200;

/// A client's socket, and the session that serves it.
async fn connect(world: &World, user: UserId) -> (WebSocketStream<TcpStream>, JoinSet<()>) {
    let secret = "a secret of at least thirty-two bytes".into();
    let context = SessionContext {
        instance_id: Uuid::new_v4(),
        hub: Arc::clone(&world.hub),
        registry: Arc::clone(&world.registry),
        storage: Arc::clone(&world.storage),
        entrance: Semaphore::new(1),
        admission: Semaphore::new(1),
        verifier: TokenVerifier::new(&AuthConfig { secret, ..AuthConfig::default() }).unwrap(),
        clock: Arc::new(SystemClock),
        metrics: Arc::clone(&world.metrics),
        drain: CancellationToken::new(),
        limits: session_limits(&LimitsConfig::default(), Duration::ZERO),
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let principal = Principal {
        user_id: user.as_uuid(),
        username: None,
        roles: Vec::new(),
        authorities: Vec::new(),
        issued_at: None,
        // Such a token is allowed, and no year has that many digits.
        expires_at: UnixTime::from_millis(i64::MAX),
    };
    let stream = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
    let connection =
        Connection { stream, trace_id: TraceId::random(), principal: Some(principal), channels: Vec::new() };
    let mut session = JoinSet::new();
    session.spawn(chat_websocket_server::session::serve(connection, Arc::new(context)));
    (WebSocketStream::from_raw_socket(client, Role::Client, None).await, session)
}

#[tokio::test]
async fn one_subscribe_catches_up_with_ten_thousand_events_in_fifty_channels() {
    let world = World::new().await;
    let mut channels = Vec::new();
    for _ in 0..CHANNELS {
        channels.push(world.channel_with(usize::try_from(MISSED).unwrap() + 1).await);
    }
    let (mut client, _session) = connect(&world, world.bob).await;

    let mut wishes = Vec::new();
    for channel in channels {
        let epoch = world.access_to(channel, world.bob).await.head.epoch;
        wishes.push(json!({ "channelId": channel, "afterSeq": 1, "epoch": epoch }));
    }
    let subscribe = json!({ "type": "SUBSCRIBE", "id": 1, "channels": wishes }).to_string();
    client.send(Message::Text(subscribe.into())).await.unwrap();

    let mut last: HashMap<Value, u64> = HashMap::new();
    let mut subscribed = 0;
    while subscribed < CHANNELS {
        let message = timeout(DEADLINE, client.next()).await.unwrap().unwrap().unwrap();
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        let last = last.entry(frame["channelId"].clone()).or_insert(1);
        match frame["type"].as_str().unwrap() {
            "HELLO" => {}
            "MESSAGE" => {
                *last += 1;
                assert_eq!(frame["seq"], *last, "in order, each once");
            }
            "SUBSCRIBED" => {
                assert_eq!((*last, &frame["replayed"]), (MISSED + 1, &json!(MISSED)));
                subscribed += 1;
            }
            _ => panic!("{text}"),
        }
    }
    assert_eq!(last.values().filter(|last| **last == MISSED + 1).count(), CHANNELS);
}

async fn next(client: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        let message = timeout(DEADLINE, client.next()).await.unwrap().unwrap().unwrap();
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test]
async fn a_renewal_while_storage_is_away_changes_nothing() {
    let world = World::new().await;
    let (mut client, _session) = connect(&world, world.bob).await;
    assert_eq!(next(&mut client).await["type"], "HELLO");
    world.storage.close().await;

    for frame in [json!({ "type": "AUTH", "token": "another" }), json!({ "type": "PING", "id": 1 })] {
        client.send(Message::Text(frame.to_string().into())).await.unwrap();
    }

    assert_eq!(next(&mut client).await["code"], "UNAVAILABLE");
    assert_eq!(next(&mut client).await["type"], "PONG");
}
