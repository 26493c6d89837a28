//! Sending over HTTP, one request at a time on a connection of its own.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use chat_domain::ChannelId;
use hyper::body::Body;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failure::{Failure, While};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Who sends to one channel.
pub(crate) struct Sender {
    address: SocketAddr,
    connection: SendRequest<String>,
    /// Drives the connection and ends with it.
    driver: JoinSet<()>,
    authorization: String,
    channel: ChannelId,
}

impl Sender {
    pub(crate) async fn connect(address: SocketAddr, token: &str, channel: ChannelId) -> Result<Self, Failure> {
        let (connection, driver) = open(address).await?;
        Ok(Self { address, connection, driver, authorization: format!("Bearer {token}"), channel })
    }

    /// Several of them, on connections of their own.
    pub(crate) async fn several(
        count: usize,
        address: SocketAddr,
        token: &str,
        channels: &[ChannelId],
    ) -> Result<Vec<Self>, Failure> {
        let mut senders = Vec::with_capacity(count);
        for channel in channels.iter().cycle().take(count) {
            senders.push(Self::connect(address, token, *channel).await?);
        }
        Ok(senders)
    }

    /// Sends a text, which has no need of being escaped. It is in durable storage when this returns.
    pub(crate) async fn send(&mut self, text: &str) -> Result<(), Failure> {
        timeout(TIMEOUT, self.request(text)).await.while_doing("a send")?
    }

    async fn request(&mut self, text: &str) -> Result<(), Failure> {
        // A server closes a connection that was idle for long.
        if self.connection.is_closed() {
            (self.connection, self.driver) = open(self.address).await?;
        }
        let channel = self.channel;
        let body = format!(r#"{{"channelId":"{channel}","messageType":"TEXT","payload":{{"text":"{text}"}}}}"#);
        let request = Request::post("/api/v1/messages")
            .header("host", self.address.to_string())
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .body(body)
            .while_doing("a request")?;
        self.connection.ready().await.while_doing("the connection to the message server")?;
        let response = self.connection.send_request(request).await.while_doing("a send")?;
        let status = response.status();
        // The next request needs the connection, so the answer is read to its end.
        let mut body = pin!(response.into_body());
        while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
            frame.while_doing("the answer to a send")?;
        }
        if status == StatusCode::CREATED { Ok(()) } else { Err(Failure(format!("a send was answered with {status}"))) }
    }
}

async fn open(address: SocketAddr) -> Result<(SendRequest<String>, JoinSet<()>), Failure> {
    let stream = TcpStream::connect(address).await.while_doing("a connection to the message server")?;
    stream.set_nodelay(true)?;
    let (connection, driver) = handshake(TokioIo::new(stream)).await.while_doing("HTTP to the message server")?;
    let mut driving = JoinSet::new();
    driving.spawn(async {
        // How it ended is seen by the request that it answers.
        let _ = driver.await;
    });
    Ok((connection, driving))
}
