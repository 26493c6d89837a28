//! What the WebSocket library works on.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::frame::Frames;

/// Bytes of answers from which on no more are kept: one answer is 127 bytes at most, and a client that does not read does
/// not miss those to its pings.
const MOST_ANSWERS: usize = 1_024;

/// The socket of a session to read from. What the library has to say, as answers to pings, is kept for who writes.
#[derive(Debug)]
pub struct ReadSide {
    socket: Arc<TcpStream>,
    answers: Vec<u8>,
    /// Bytes that were read since this was last set to none.
    pub(super) read: usize,
}

impl ReadSide {
    /// Of this socket.
    pub fn new(socket: TcpStream) -> Self {
        Self { socket: Arc::new(socket), answers: Vec::new(), read: 0 }
    }

    pub(super) const fn socket(&self) -> &Arc<TcpStream> {
        &self.socket
    }

    /// Takes out what the library has to say.
    pub(super) fn take_answers(&mut self) -> Option<Frames> {
        let answers = std::mem::take(&mut self.answers);
        (!answers.is_empty()).then(|| Frames::encoded(&answers))
    }
}

impl AsyncRead for ReadSide {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|bytes| self.read += bytes)),
            }
        }
    }
}

impl AsyncWrite for ReadSide {
    /// The library writes whole frames.
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, frames: &[u8]) -> Poll<io::Result<usize>> {
        if self.answers.len() < MOST_ANSWERS {
            self.answers.extend_from_slice(frames);
        }
        Poll::Ready(Ok(frames.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
