use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, Utf8Bytes, error::CapacityError},
};

use crate::{metrics::Metrics, protocol::CloseReason};

/// An upgraded connection.
pub type Stream = WebSocketStream<TcpStream>;

/// How long a client may take to receive the close frame and answer it. It is told why, or it does not listen.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The socket of a session, with every write bounded in time.
pub(super) struct Socket {
    stream: Stream,
    write_timeout: Duration,
    metrics: Arc<Metrics>,
    /// The other side is gone: there is nobody to say goodbye to.
    gone: bool,
}

/// Something that the client sent.
pub(super) enum Received {
    /// A text frame.
    Text(Utf8Bytes),
    /// A binary frame, which this protocol does not have.
    Binary,
    /// A ping or pong: a sign of life.
    Life,
}

impl Socket {
    pub(super) const fn new(stream: Stream, write_timeout: Duration, metrics: Arc<Metrics>) -> Self {
        Self { stream, write_timeout, metrics, gone: false }
    }

    /// The next thing that the client sends. Safe to drop while it waits.
    pub(super) async fn receive(&mut self) -> Result<Received, CloseReason> {
        match self.stream.next().await {
            Some(Ok(Message::Text(text))) => Ok(Received::Text(text)),
            Some(Ok(Message::Binary(_))) => Ok(Received::Binary),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(Received::Life),
            Some(Ok(Message::Close(_))) => Err(CloseReason::Normal),
            None => Err(self.is_gone()),
            Some(Err(error)) => Err(self.fail(&error)),
        }
    }

    /// Writes frames in one go. A client that does not take them in time is a slow consumer.
    pub(super) async fn send_all(&mut self, frames: VecDeque<Utf8Bytes>) -> Result<(), CloseReason> {
        let (stream, count) = (&mut self.stream, frames.len() as u64);
        let write = async {
            for frame in frames {
                stream.feed(Message::Text(frame)).await?;
            }
            stream.flush().await
        };
        match tokio::time::timeout(self.write_timeout, write).await {
            Ok(Ok(())) => {
                self.metrics.writes.inc();
                self.metrics.frames_written.inc_by(count);
                Ok(())
            }
            Ok(Err(error)) => Err(self.fail(&error)),
            Err(_) => Err(CloseReason::SlowConsumer),
        }
    }

    pub(super) async fn send(&mut self, frame: Utf8Bytes) -> Result<(), CloseReason> {
        self.send_all(VecDeque::from([frame])).await
    }

    pub(super) async fn ping(&mut self) -> Result<(), CloseReason> {
        match tokio::time::timeout(self.write_timeout, self.stream.send(Message::Ping(Bytes::new()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.fail(&error)),
            Err(_) => Err(CloseReason::SlowConsumer),
        }
    }

    /// Says why, waits a little for the answer, and lets go.
    pub(super) async fn close(&mut self, reason: CloseReason) {
        if self.gone {
            return;
        }
        let goodbye = async {
            if reason != CloseReason::Normal {
                self.stream.close(Some(reason.frame())).await?;
            }
            // Reading on sends the answer to the client's own close, or takes its answer to ours. What else comes is late.
            while let Some(Ok(_)) = self.stream.next().await {}
            // What a refused client still sends is read too: a socket that is closed with unread input is reset, and the
            // client would lose the close frame.
            let socket = self.stream.get_mut();
            socket.shutdown().await?;
            let mut rest = [0; 1_024];
            while socket.read(&mut rest).await? > 0 {}
            Ok::<(), Error>(())
        };
        // Whoever does not answer is let go of all the same.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
    }

    fn fail(&mut self, error: &Error) -> CloseReason {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseReason::FrameTooBig,
            // Not UTF-8, or against RFC 6455: the library does not read on.
            Error::Utf8(_) | Error::Protocol(_) => CloseReason::BadFrame,
            _ => self.is_gone(),
        }
    }

    const fn is_gone(&mut self) -> CloseReason {
        self.gone = true;
        CloseReason::Normal
    }
}
