//! A WebSocket connection, as anybody could write one from the documented frames.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use super::Ids;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the server is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(1);
/// After this long without any frame, the connection is given up.
const SILENCE: Duration = Duration::from_secs(4);

pub(super) struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    heard_at: Instant,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Without a word, or it was silent for too long.
    Broken,
    /// With this close code.
    Closed(u16),
}

/// What a listener looks at in a frame of the server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) channel_id: Option<chat_domain::ChannelId>,
    pub(super) seq: Option<u64>,
    pub(super) epoch: Option<String>,
    #[serde(default)]
    pub(super) retryable: bool,
    pub(super) after_ms: Option<u64>,
    #[serde(flatten)]
    pub(super) ids: Ids,
}

impl Socket {
    /// Signs in by header.
    pub(super) async fn connect(url: &str, token: &str) -> Result<Self, Error> {
        let mut request = url.into_client_request()?;
        let header = format!("Bearer {token}").parse().map_err(|_| Error::AttackAttempt)?;
        request.headers_mut().insert("authorization", header);
        let late = |_| Error::Io(std::io::ErrorKind::TimedOut.into());
        let (socket, _) = timeout(CONNECT_TIMEOUT, connect_async(request)).await.map_err(late)??;
        Ok(Self { socket, heard_at: Instant::now() })
    }

    pub(super) async fn send(&mut self, frame: &serde_json::Value) -> Result<(), Error> {
        self.socket.send(Message::text(frame.to_string())).await
    }

    /// The next text frame.
    pub(super) async fn next(&mut self) -> Result<String, Ended> {
        loop {
            let Ok(received) = timeout(PING_EVERY, self.socket.next()).await else {
                if self.heard_at.elapsed() > SILENCE {
                    return Err(Ended::Broken);
                }
                // Not a control frame: those are answered even by a server whose sessions hang.
                let sent = timeout(SILENCE, self.send(&serde_json::json!({"type": "PING"}))).await;
                sent.map_err(|_| Ended::Broken)?.map_err(|_| Ended::Broken)?;
                continue;
            };
            self.heard_at = Instant::now();
            match received {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(Message::Close(Some(frame)))) => return Err(Ended::Closed(frame.code.into())),
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Err(Ended::Broken),
                Some(Ok(_)) => {}
            }
        }
    }
}
