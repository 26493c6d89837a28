//! A server that does what the test says, on a real socket.

use std::time::Duration;

use chat_client::{Client, ClientConfig, Item, Items, State, TokenSource};
use chat_domain::ChannelId;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::StatusCode,
        protocol::CloseFrame,
    },
};

/// Far beyond what a loaded machine needs; only a failing test waits that long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const EPOCH: &str = "018f4e7a-0000-7000-8000-0000000000ee";

pub(crate) fn channel(number: u32) -> ChannelId {
    uuid::Uuid::from_u128(u128::from(number)).into()
}

/// Where clients of the test connect to.
pub(crate) struct Peer(TcpListener);

/// The server's end of a connection.
pub(crate) struct Link {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) authorization: Option<String>,
}

impl Peer {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/ws/chat", self.0.local_addr().unwrap())
    }

    /// The next connection, upgraded, without HELLO.
    pub(crate) async fn accept(&self) -> Link {
        let (stream, _) = timeout(DEADLINE, self.0.accept()).await.expect("a connection").unwrap();
        let mut authorization = None;
        let read_headers = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
            Ok(response)
        };
        let socket = accept_hdr_async(stream, read_headers).await.unwrap();
        Link { socket, authorization }
    }

    /// The next connection, signed in.
    pub(crate) async fn welcome(&self) -> Link {
        let mut link = self.accept().await;
        link.hello(60_000, None).await;
        link
    }

    /// Refuses the next connection before the upgrade.
    pub(crate) async fn refuse(&self, status: u16) {
        let (stream, _) = timeout(DEADLINE, self.0.accept()).await.expect("a connection").unwrap();
        let refuse = |_: &Request, _: Response| -> Result<Response, ErrorResponse> {
            let mut response = ErrorResponse::new(None);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Err(response)
        };
        assert!(accept_hdr_async(stream, refuse).await.is_err());
    }
}

impl Link {
    pub(crate) async fn send(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    pub(crate) async fn hello(&mut self, heartbeat_ms: u64, expires_at: Option<&str>) {
        self.send(json!({
            "type": "HELLO", "protocol": 1, "sessionId": "s", "userId": channel(9), "instanceId": "i",
            "heartbeatMs": heartbeat_ms, "maxFrameBytes": 16_384, "expiresAt": expires_at,
        }))
        .await;
    }

    pub(crate) async fn event(&mut self, channel: ChannelId, seq: u64) {
        self.send(json!({"type": "MESSAGE", "channelId": channel, "seq": seq, "content": "x"})).await;
    }

    /// Confirms each channel of a SUBSCRIBE.
    pub(crate) async fn confirm(&mut self, subscribe: &Value, head_seq: u64) {
        for wish in subscribe["channels"].as_array().unwrap() {
            self.send(json!({
                "type": "SUBSCRIBED", "id": subscribe["id"], "channelId": wish["channelId"],
                "headSeq": head_seq, "epoch": EPOCH, "replayed": 0,
            }))
            .await;
        }
    }

    /// The next frame of the client, which has to be of this type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let message = timeout(DEADLINE, self.socket.next()).await.expect(kind).expect(kind).expect(kind);
            if let Message::Text(text) = message {
                let frame: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(frame["type"], kind, "{frame}");
                return frame;
            }
        }
    }

    pub(crate) async fn close(&mut self, code: u16) {
        self.socket.close(Some(CloseFrame { code: code.into(), reason: "".into() })).await.unwrap();
    }

    /// Waits until the client has closed the connection, and says with which code it said goodbye.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some(Ok(message)) = timeout(DEADLINE, self.socket.next()).await.expect("the client closes") {
            if let Message::Close(frame) = message {
                code = frame.map(|frame| frame.code.into());
            }
        }
        code
    }
}

/// Comes back without delay.
pub(crate) fn config(urls: &[String], token: TokenSource) -> ClientConfig {
    let mut config = ClientConfig::new(urls, token).unwrap();
    config.jitter = Box::new(|| 0.0);
    config
}

pub(crate) fn connect(peers: &[&Peer]) -> (Client, Items) {
    let urls: Vec<_> = peers.iter().map(|peer| peer.url()).collect();
    Client::connect(config(&urls, TokenSource::fixed("token")))
}

/// The next item that `pick` takes; what comes before it is passed over.
pub(crate) async fn until<T>(items: &mut Items, what: &str, mut pick: impl FnMut(Item) -> Option<T>) -> T {
    let picked = timeout(DEADLINE, async {
        loop {
            let item = items.recv().await.unwrap_or_else(|| panic!("the client ended before: {what}"));
            if let Some(picked) = pick(item) {
                return picked;
            }
        }
    });
    picked.await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

pub(crate) async fn next_seq(items: &mut Items) -> u64 {
    until(items, "an event", |item| if let Item::Event(event) = item { Some(event.seq) } else { None }).await
}

pub(crate) async fn next_closed(items: &mut Items) -> u16 {
    let code = until(items, "the end", |item| match item {
        Item::State(State::Closed { code, .. }) => Some(code),
        _ => None,
    })
    .await;
    assert!(timeout(DEADLINE, items.recv()).await.expect("the end").is_none());
    code
}

pub(crate) async fn next_offline(items: &mut Items) -> (Option<u16>, Duration) {
    until(items, "going offline", |item| match item {
        Item::State(State::Offline { code, retry_in, .. }) => Some((code, retry_in)),
        _ => None,
    })
    .await
}
