use std::{
    future::poll_fn,
    net::Shutdown,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use socket2::SockRef;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, Utf8Bytes, error::CapacityError},
};

use super::{SessionLimits, read_side::ReadSide};
use crate::{
    frame::{Frames, TextFrame},
    metrics::Metrics,
    protocol::CloseReason,
    wire::Backlog,
};

/// An upgraded connection.
pub type Stream = WebSocketStream<ReadSide>;

/// How long a client may take to receive the close frame and answer it. It is told why, or it does not listen.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes around what a frame carries, at most.
const MOST_AROUND: usize = 14;

/// The socket of a session, with every write bounded in time.
pub(super) struct Socket {
    stream: Stream,
    write_timeout: Duration,
    /// Bytes that may come without a whole frame: a frame, and what it is in.
    most_unfinished: usize,
    metrics: Arc<Metrics>,
    /// The other side is gone: there is nobody to say goodbye to.
    gone: bool,
    /// The library may have read more than it has given out.
    unread: bool,
    /// What goes out before anything else.
    backlog: Backlog,
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
    pub(super) fn new(stream: Stream, limits: &SessionLimits, metrics: Arc<Metrics>) -> Self {
        let (write_timeout, most_unfinished) = (limits.write_timeout, 2 * limits.frame_bytes);
        Self { stream, write_timeout, most_unfinished, metrics, gone: false, unread: true, backlog: Backlog::default() }
    }

    /// What rooms may write to, as long as nobody else does.
    pub(super) fn shared(&self) -> &Arc<TcpStream> {
        self.stream.get_ref().socket()
    }

    /// The next thing that the client sends, while nobody else writes. Safe to drop while it waits.
    pub(super) async fn receive(&mut self) -> Result<Received, CloseReason> {
        poll_fn(|cx| {
            let received = self.poll_receive(cx);
            if let Poll::Ready(Err(reason)) = self.poll_answer(cx) {
                return Poll::Ready(Err(reason));
            }
            received
        })
        .await
    }

    /// The same for who waits for other things too, and deals with [`Self::take_answers`].
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, CloseReason>> {
        // The library clears its buffer for every look into the socket: it is not asked in vain with each write.
        if !self.unread && self.shared().poll_read_ready(cx).is_pending() {
            return Poll::Pending;
        }
        let next = self.stream.poll_next_unpin(cx);
        self.unread = next.is_ready();
        let read = &mut self.stream.get_mut().read;
        *read = match &next {
            // A frame in endless pieces, each of which may be empty: the library counts their bytes only.
            Poll::Pending if *read > self.most_unfinished => return Poll::Ready(Err(CloseReason::FrameTooBig)),
            Poll::Pending => *read,
            // It may come between the pieces.
            Poll::Ready(Some(Ok(Message::Ping(sign) | Message::Pong(sign)))) => {
                read.saturating_sub(MOST_AROUND + sign.len())
            }
            Poll::Ready(_) => 0,
        };
        Poll::Ready(match ready!(next) {
            Some(Ok(Message::Text(text))) => Ok(Received::Text(text)),
            Some(Ok(Message::Binary(_))) => Ok(Received::Binary),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(Received::Life),
            Some(Ok(Message::Close(_))) => Err(CloseReason::Normal),
            None => Err(self.is_gone()),
            Some(Err(error)) => Err(self.fail(&error)),
        })
    }

    /// Answers to what the client sent that is not for the session.
    pub(super) fn take_answers(&mut self) -> Option<Frames> {
        self.stream.get_mut().take_answers()
    }

    /// Writes all of this, which are so many frames, in one go. A client that does not take it in time is a slow consumer.
    pub(super) async fn send_all(&mut self, backlog: &mut Backlog, frames: usize) -> Result<(), CloseReason> {
        let socket = self.stream.get_ref().socket();
        let mut write = poll_fn(|cx| backlog.poll_write(socket, cx));
        // Mostly the socket takes everything at once, and no timer is needed.
        let written = match futures_util::poll!(&mut write) {
            Poll::Ready(written) => Ok(written),
            Poll::Pending => tokio::time::timeout(self.write_timeout, write).await,
        };
        match written {
            Ok(Ok(())) => {
                self.metrics.writes.inc();
                self.metrics.frames_written.inc_by(frames as u64);
                Ok(())
            }
            Ok(Err(_)) => Err(self.is_gone()),
            Err(_) => {
                self.finish_first(std::mem::take(&mut backlog.unfinished));
                Err(CloseReason::SlowConsumer)
            }
        }
    }

    /// Writes a frame while nobody else writes.
    pub(super) async fn send(&mut self, frame: TextFrame) -> Result<(), CloseReason> {
        let mut backlog = std::mem::take(&mut self.backlog);
        backlog.waiting.push_back(frame.into());
        self.send_all(&mut backlog, 1).await
    }

    /// Before the goodbye this is to be written: the rest of a frame that was begun.
    pub(super) fn finish_first(&mut self, unfinished: Bytes) {
        if !unfinished.is_empty() {
            self.backlog.unfinished = unfinished;
        }
    }

    /// Writes what the library has to say, while nobody else writes.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        loop {
            let written = ready!(self.backlog.poll_write(self.stream.get_ref().socket(), cx));
            written.map_err(|_| self.is_gone())?;
            let Some(answers) = self.take_answers() else { return Poll::Ready(Ok(())) };
            self.backlog.waiting.push_back(answers);
        }
    }

    /// Says why, waits a little for the answer, and lets go.
    pub(super) async fn close(&mut self, reason: CloseReason) {
        if self.gone {
            return;
        }
        // Whoever does not answer is let go of all the same.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.say_goodbye(reason)).await;
    }

    async fn say_goodbye(&mut self, reason: CloseReason) -> Result<(), CloseReason> {
        if reason != CloseReason::Normal {
            let _ = self.stream.close(Some(reason.frame())).await;
        }
        // Reading on brings the answer to our close, or writes the one to the client's own. What else comes is late.
        while self.receive().await.is_ok() {}
        poll_fn(|cx| self.poll_answer(cx)).await?;
        // What a refused client still sends is read too: a socket that is closed with unread input is reset, and the
        // client would lose the close frame.
        let _ = SockRef::from(&**self.shared()).shutdown(Shutdown::Write);
        let mut rest = [0; 1_024];
        while self.stream.get_mut().read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
        Ok(())
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
