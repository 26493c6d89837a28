//! A stock WebSocket client that knows nothing but the documented frames: it repairs nothing and hides nothing.

use std::io::{self, Cursor, Read, Write};
use std::time::Duration;

use chat_domain::ChannelId;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Far beyond what a loaded machine needs; only a failing test waits that long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Stock {
    socket: WebSocketStream<TcpStream>,
}

impl Stock {
    /// Signs in by header and takes the HELLO.
    pub(crate) async fn sign_in(url: &str, token: &str) -> Self {
        let mut stock = Self::connect(url, &[("authorization", &format!("Bearer {token}"))]).await.unwrap();
        let hello = stock.expect("HELLO").await;
        assert_eq!(hello["protocol"], 1);
        stock
    }

    /// Upgrades, with these header fields. An error is the status of the refusal and its problem document.
    pub(crate) async fn connect(url: &str, headers: &[(&'static str, &str)]) -> Result<Self, (u16, Value)> {
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let address = format!("{}:{}", request.uri().host().unwrap(), request.uri().port_u16().unwrap());
        // Little fits in flight, so that a client that does not read is noticed soon.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        match timeout(DEADLINE, client_async(request, stream)).await.expect("an answer to the upgrade") {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                Err((response.status().as_u16(), serde_json::from_slice(body).unwrap_or(Value::Null)))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_raw(Message::text(frame.to_string())).await;
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Sends many frames in one go. A server that has closed meanwhile is no error.
    pub(crate) async fn send_many(&mut self, frames: impl IntoIterator<Item = Value>) {
        for frame in frames {
            if self.socket.feed(Message::text(frame.to_string())).await.is_err() {
                return;
            }
        }
        // It says why in a close frame, which is read later.
        let _ = self.socket.flush().await;
    }

    /// The next text frame, or the close code.
    pub(crate) async fn next(&mut self) -> Result<Value, Option<u16>> {
        // However many pings come meanwhile.
        let deadline = Instant::now() + DEADLINE;
        loop {
            match timeout_at(deadline, self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The next text frame, which has to be of this type. That a channel was added before may be told at any time: the bus
    /// need not be connected yet when a channel is made.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        loop {
            match self.next().await {
                Ok(frame) if frame["type"] == "CHANNEL_ADDED" && kind != "CHANNEL_ADDED" => {}
                Ok(frame) => {
                    assert_eq!(frame["type"], kind, "{frame}");
                    return frame;
                }
                Err(code) => panic!("closed with {code:?} instead of {kind}"),
            }
        }
    }

    /// The next frame has to be an ERROR with this code.
    pub(crate) async fn expect_error(&mut self, code: &str) -> Value {
        let error = self.expect("ERROR").await;
        assert_eq!(error["code"], code, "{error}");
        error
    }

    /// The next text frame of this type; others are passed over.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        loop {
            match self.next().await {
                Ok(frame) if frame["type"] == kind => return frame,
                Ok(_) => {}
                Err(code) => panic!("closed with {code:?} before {kind}"),
            }
        }
    }

    /// Reads to the end: the close code, if the server said one.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }

    /// Reads to the end without a word: answers to the pings of a server that has left would reset the connection, and
    /// with it what is still to be read.
    pub(crate) async fn close_code_without_answers(self) -> Option<u16> {
        let mut stream = self.socket.into_inner();
        let mut bytes = Vec::new();
        timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("an end in time").unwrap();
        let mut frames = WebSocket::from_raw_socket(Recorded(Cursor::new(bytes)), Role::Client, None);
        loop {
            match frames.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Subscribes from now on and waits for the confirmation.
    pub(crate) async fn subscribe(&mut self, channel: ChannelId) -> Value {
        self.send(json!({"type": "SUBSCRIBE", "id": "s", "channels": [{"channelId": channel}]})).await;
        self.expect("SUBSCRIBED").await
    }

    /// The same for each of these channels.
    pub(crate) async fn subscribe_to_all(&mut self, channels: &[ChannelId]) {
        for channel in channels {
            self.subscribe(*channel).await;
        }
    }

    /// Asks for what came after `seq`, and goes on.
    pub(crate) async fn subscribe_after(&mut self, channel: ChannelId, seq: u64) {
        let wish = json!({"channelId": channel, "afterSeq": seq});
        self.send(json!({"type": "SUBSCRIBE", "id": "s", "channels": [wish]})).await;
    }
}

/// What a server has sent; nothing can be answered any more.
struct Recorded(Cursor<Vec<u8>>);

impl Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut self.0, buffer)
    }
}

impl Write for Recorded {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
