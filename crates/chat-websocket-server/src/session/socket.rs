use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, Utf8Bytes, error::CapacityError},
};

use crate::{
    frame::{Frames, TextFrame},
    metrics::Metrics,
    protocol::CloseReason,
};

/// An upgraded connection.
pub type Stream = WebSocketStream<TcpStream>;

/// How long a client may take to receive the close frame and answer it. It is told why, or it does not listen.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Entries that are gathered for one write. What was queued together is one entry already.
const GATHERED: usize = 32;

/// The socket of a session, with every write bounded in time.
pub(super) struct Socket {
    stream: Stream,
    write_timeout: Duration,
    metrics: Arc<Metrics>,
    /// The other side is gone: there is nobody to say goodbye to.
    gone: bool,
    /// The library may have read more than it has given out.
    unread: bool,
    /// The library may have something to write, as the answer to a ping. It goes out before what does not pass through it.
    unsent: bool,
    /// Bytes of the first entry that waits that are written.
    written: usize,
    /// The rest of the frame in the middle of which writing was broken off.
    unfinished: Bytes,
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
        let (gone, unread, unsent) = (false, true, false);
        Self { stream, write_timeout, metrics, gone, unread, unsent, written: 0, unfinished: Bytes::new() }
    }

    /// The next thing that the client sends. Safe to drop while it waits.
    pub(super) async fn receive(&mut self) -> Result<Received, CloseReason> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// The same for who waits for other things too.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, CloseReason>> {
        // The library clears its buffer for every look into the socket: it is not asked in vain with each write.
        if !self.unread && self.stream.get_ref().poll_read_ready(cx).is_pending() {
            return Poll::Pending;
        }
        let next = self.stream.poll_next_unpin(cx);
        (self.unread, self.unsent) = (next.is_ready(), true);
        Poll::Ready(match ready!(next) {
            Some(Ok(Message::Text(text))) => Ok(Received::Text(text)),
            Some(Ok(Message::Binary(_))) => Ok(Received::Binary),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(Received::Life),
            Some(Ok(Message::Close(_))) => Err(CloseReason::Normal),
            None => Err(self.is_gone()),
            Some(Err(error)) => Err(self.fail(&error)),
        })
    }

    /// Writes all of these, which are so many frames, in one go. A client that does not take them in time is a slow
    /// consumer.
    pub(super) async fn send_all(&mut self, waiting: &mut VecDeque<Frames>, count: usize) -> Result<(), CloseReason> {
        let timeout = self.write_timeout;
        let written = {
            let mut write = pin!(self.write(waiting));
            // Mostly the socket takes everything at once, and no timer is needed.
            match futures_util::poll!(write.as_mut()) {
                Poll::Ready(written) => Ok(written),
                Poll::Pending => tokio::time::timeout(timeout, write).await,
            }
        };
        match written {
            Ok(Ok(())) => {
                self.metrics.writes.inc();
                self.metrics.frames_written.inc_by(count as u64);
                Ok(())
            }
            Ok(Err(error)) => Err(self.fail(&error)),
            Err(_) => {
                self.unfinished = waiting.front().map(|frames| frames.unfinished(self.written)).unwrap_or_default();
                Err(CloseReason::SlowConsumer)
            }
        }
    }

    pub(super) async fn send(&mut self, frame: TextFrame) -> Result<(), CloseReason> {
        self.send_all(&mut VecDeque::from([frame.into()]), 1).await
    }

    async fn write(&mut self, waiting: &mut VecDeque<Frames>) -> Result<(), Error> {
        if std::mem::take(&mut self.unsent) {
            self.stream.flush().await?;
        }
        Ok(poll_fn(|cx| poll_write_all(self.stream.get_mut(), cx, waiting, &mut self.written)).await?)
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
            self.stream.get_mut().write_all_buf(&mut self.unfinished).await?;
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

/// Writes what waits and takes out what is written. Of the first entry `written` bytes are.
fn poll_write_all(
    socket: &mut TcpStream,
    cx: &mut Context<'_>,
    waiting: &mut VecDeque<Frames>,
    written: &mut usize,
) -> Poll<io::Result<()>> {
    let mut socket = Pin::new(socket);
    while let Some(first) = waiting.front() {
        let first = &first.wire()[*written..];
        *written += ready!(if waiting.len() == 1 {
            socket.as_mut().poll_write(cx, first)
        } else {
            let mut slices = [IoSlice::new(first); GATHERED];
            let others = waiting.iter().skip(1).map(|frames| IoSlice::new(frames.wire()));
            let gathered = slices.iter_mut().skip(1).zip(others).map(|(slot, slice)| *slot = slice).count();
            socket.as_mut().poll_write_vectored(cx, &slices[..=gathered])
        })?;
        while let Some(first) = waiting.front()
            && *written >= first.wire().len()
        {
            *written -= first.wire().len();
            waiting.pop_front();
        }
    }
    Poll::Ready(Ok(()))
}
