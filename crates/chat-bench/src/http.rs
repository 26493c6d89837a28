//! Sending over HTTP, one request at a time on a connection of its own.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use chat_domain::ChannelId;
use hyper::Request;
use hyper::body::Body;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failure::{Failure, While};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Where texts are sent to, on a server that is known otherwise, and what is around them.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    /// The body of the request, but for the text.
    pub(crate) around: (String, String),
}

impl Target {
    /// A channel of a message server.
    pub(crate) fn channel(token: &str, channel: ChannelId) -> Self {
        let before = format!(r#"{{"channelId":"{channel}","messageType":"TEXT","payload":{{"text":""#);
        let (path, token) = ("/api/v1/messages".to_owned(), Some(token.to_owned()));
        Self { path, token, around: (before, r#""}}"#.to_owned()) }
    }

    /// Where channels are made; what is sent is a whole body.
    pub(crate) fn channels(token: &str) -> Self {
        Self { path: "/api/v1/channels".to_owned(), token: Some(token.to_owned()), around: Default::default() }
    }
}

/// Who sends to one server.
pub(crate) struct Sender {
    address: SocketAddr,
    connection: SendRequest<String>,
    /// Drives the connection and ends with it.
    driver: JoinSet<()>,
}

impl Sender {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let (connection, driver) = open(address).await?;
        Ok(Self { address, connection, driver })
    }

    /// Several of them, on connections of their own.
    pub(crate) async fn several(count: usize, address: SocketAddr) -> Result<Vec<Self>, Failure> {
        let mut senders = Vec::with_capacity(count);
        for _ in 0..count {
            senders.push(Self::connect(address).await?);
        }
        Ok(senders)
    }

    /// Sends a text, which has no need of being escaped. A message server has it in durable storage when this returns.
    pub(crate) async fn send(&mut self, target: &Target, text: &str) -> Result<(), Failure> {
        let (before, after) = &target.around;
        self.post(target, format!("{before}{text}{after}")).await.map(drop)
    }

    /// Sends a body and returns that of the answer.
    pub(crate) async fn post(&mut self, target: &Target, body: String) -> Result<Vec<u8>, Failure> {
        timeout(TIMEOUT, self.request(target, body)).await.while_doing("a request")?
    }

    async fn request(&mut self, target: &Target, body: String) -> Result<Vec<u8>, Failure> {
        // A server closes a connection that was idle for long.
        if self.connection.is_closed() {
            (self.connection, self.driver) = open(self.address).await?;
        }
        let Target { path, token, .. } = target;
        let mut request = Request::post(path.as_str())
            .header("host", self.address.to_string())
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(body).while_doing("a request")?;
        self.connection.ready().await.while_doing("a connection for requests")?;
        let response = self.connection.send_request(request).await.while_doing("a request")?;
        let status = response.status();
        // The next request needs the connection, so the answer is read to its end.
        let (mut body, mut answer) = (pin!(response.into_body()), Vec::new());
        while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
            let data = frame.while_doing("the answer to a request")?.into_data();
            answer.extend(data.unwrap_or_default());
        }
        if status.is_success() { Ok(answer) } else { Err(Failure(format!("{path} answered with {status}"))) }
    }
}

async fn open(address: SocketAddr) -> Result<(SendRequest<String>, JoinSet<()>), Failure> {
    let stream = TcpStream::connect(address).await.while_doing("a connection for requests")?;
    stream.set_nodelay(true)?;
    let (connection, driver) = handshake(TokioIo::new(stream)).await.while_doing("a connection for requests")?;
    let mut driving = JoinSet::new();
    driving.spawn(async {
        // How it ended is seen by the request that it answers.
        let _ = driver.await;
    });
    Ok((connection, driving))
}
