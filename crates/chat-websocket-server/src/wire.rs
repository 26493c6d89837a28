//! Writes frames to a socket that several may write to, one at a time.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::frame::Frames;

/// Entries that are gathered for one write. What was queued together is one entry already.
const GATHERED: usize = 32;
/// Entries for which memory is kept: what is more goes back after a burst.
pub(crate) const KEPT: usize = 4;

/// What is to be written to a socket, in this order. Whoever goes on with it begins where the other one ended.
#[derive(Debug, Default)]
pub struct Backlog {
    /// The rest of the frame in the middle of which the last write ended.
    pub unfinished: Bytes,
    /// Whole frames.
    pub waiting: VecDeque<Frames>,
}

impl Backlog {
    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.unfinished.is_empty() && self.waiting.is_empty()
    }

    /// Whole frames, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let add = |(count, bytes), frames: &Frames| (count + frames.count(), bytes + frames.wire().len());
        self.waiting.iter().fold((0, 0), add)
    }

    /// Gives back the memory of a burst.
    pub fn shrink(&mut self) {
        self.waiting.shrink_to(KEPT);
    }

    /// Puts in front what was to be written before: the rest of a frame, and whole frames behind it.
    pub fn put_back(&mut self, unfinished: Bytes, rest: Option<Frames>) {
        self.unfinished = unfinished;
        rest.into_iter().for_each(|rest| self.waiting.push_front(rest));
    }

    /// Writes as much as the socket takes at once. False if something is left.
    pub fn try_write(&mut self, socket: &TcpStream) -> io::Result<bool> {
        while !self.is_empty() {
            match self.write_once(socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.forget(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Writes everything. For one task at a time.
    pub fn poll_write(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.try_write(socket)? {
            ready!(socket.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn write_once(&self, socket: &TcpStream) -> io::Result<usize> {
        if self.unfinished.is_empty()
            && let (1, Some(only)) = (self.waiting.len(), self.waiting.front())
        {
            return socket.try_write(only.wire());
        }
        let pieces = std::iter::once(&self.unfinished).chain(self.waiting.iter().map(Frames::wire));
        let mut slices = [IoSlice::new(&[]); GATHERED];
        let filled = slices.iter_mut().zip(pieces).map(|(slot, piece)| *slot = IoSlice::new(piece)).count();
        socket.try_write_vectored(&slices[..filled])
    }

    /// These bytes are written.
    fn forget(&mut self, written: usize) {
        let finished = written.min(self.unfinished.len());
        self.unfinished.advance(finished);
        let mut written = written - finished;
        while written > 0
            && let Some(frames) = self.waiting.pop_front()
        {
            let whole = frames.wire().len();
            if written < whole {
                let (unfinished, rest) = frames.after(written);
                self.put_back(unfinished, rest);
            }
            written = written.saturating_sub(whole);
        }
    }
}

/// Writes as much as the socket takes at once, and returns how many bytes that was. It asks the kernel whether there is
/// room, and not the runtime: with thousands of sockets that is the slower one to answer.
pub(crate) fn write_now(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::TextFrame;

    fn backlog(entries: &[&[&str]]) -> Backlog {
        let join = |texts: &&[&str]| {
            let frames: Vec<_> = texts.iter().map(|text| TextFrame::from(*text)).collect();
            Frames::join(frames.iter())
        };
        Backlog { unfinished: Bytes::new(), waiting: entries.iter().map(join).collect() }
    }

    fn bytes(backlog: &Backlog) -> Vec<u8> {
        let waiting = backlog.waiting.iter().flat_map(|frames| frames.wire().to_vec());
        backlog.unfinished.iter().copied().chain(waiting).collect()
    }

    #[test]
    fn what_is_left_is_the_rest_of_a_frame_and_whole_frames() {
        let entries: [&[&str]; 3] = [&["ab", "c"], &["def"], &["g", "", "hi"]];
        let whole = bytes(&backlog(&entries));
        for first in 0..=whole.len() {
            for second in 0..=whole.len() - first {
                let mut backlog = backlog(&entries);
                backlog.forget(first);
                backlog.forget(second);
                assert_eq!(bytes(&backlog), whole[first + second..]);
                let frames: Vec<_> = backlog.waiting.iter().flat_map(Frames::texts).collect();
                let all = ["ab", "c", "def", "g", "", "hi"];
                assert_eq!(frames, all[all.len() - frames.len()..]);
                assert_eq!(backlog.size().0, frames.len());
                assert!(backlog.unfinished.len() < 5, "not a whole frame");
            }
        }
    }
}
