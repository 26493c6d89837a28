//! What waits to be sent to one session.
//!
//! A room writes to the socket itself if nothing waits and nobody else is writing. What the socket does not take at once,
//! and all else, waits here for the session's task, which takes everything and writes it in one go.
//!
//! The bound counts what waits and what is being written. Who does not read as fast as its rooms talk is closed as a slow
//! consumer: it comes back and resumes from the log. Before that a room may wait for it a little, and the others in the
//! room with it.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use chat_domain::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::{net::TcpStream, sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    frame::{Frames, TextFrame},
    protocol::CloseReason,
    wire::{self, Backlog},
};

/// Bytes that replays from the log keep waiting for one session: enough for one write, and little for each of many thousand
/// sessions that come back at once and read slowly.
const REPLAY_BYTES: usize = 64 * 1024;

/// The bounds of an [`Outbox`].
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    /// Most frames.
    pub frames: usize,
    /// Most bytes.
    pub bytes: usize,
}

/// The bounded queue of one session.
#[derive(Debug)]
pub struct Outbox {
    limits: OutboxLimits,
    state: Mutex<State>,
    /// Told when there is room again.
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    backlog: Backlog,
    writer: Writer,
    /// Where rooms may write to; none before the session says so, while a room does, and after the session's end.
    socket: Option<Arc<TcpStream>>,
    /// Frames that wait or are being written.
    frames: usize,
    /// Their bytes.
    bytes: usize,
    /// When the oldest of the live events that wait was committed.
    oldest: Option<Timestamp>,
    closed: Option<CloseReason>,
    /// The session is to leave in its own time after this moment.
    leaving: Option<Instant>,
    /// Its task knows.
    leaving_told: bool,
    /// The session's task waits for the room that writes.
    queued_up: bool,
    /// The session's task, woken when there is something for it to take.
    taker: Option<Waker>,
    /// Somebody waits for room.
    crowded_out: bool,
}

/// Who writes what was queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Nobody,
    /// A room, which has the socket.
    Room,
    /// The session's task, which has taken something or is to go on with what a room could not write.
    Session,
}

/// What was taken out to be written. It counts until it is said to be written.
#[derive(Debug, Default)]
pub struct Taken {
    /// What is to be written.
    pub backlog: Backlog,
    /// When the oldest live event among it was committed.
    pub oldest: Option<Timestamp>,
    /// Why the queue is closed, if it is. What was queued before that is in `backlog`.
    pub closed: Option<CloseReason>,
    /// The session is to leave in its own time after this moment.
    pub leaving: Option<Instant>,
    frames: usize,
    bytes: usize,
}

impl Taken {
    /// How many frames were taken.
    pub const fn frames(&self) -> usize {
        self.frames
    }
}

impl Outbox {
    /// An empty queue.
    pub fn new(limits: OutboxLimits) -> Self {
        Self { limits, state: Mutex::default(), drained: Notify::new() }
    }

    /// From now on rooms may write to this socket.
    pub fn lend(&self, socket: Arc<TcpStream>) {
        self.state.lock().socket = Some(socket);
    }

    /// Queues a frame. A frame that does not fit closes the queue as a slow consumer's.
    pub fn push(&self, frame: impl Into<Frames>) {
        self.push_locked(self.state.lock(), std::iter::once(frame.into()));
    }

    /// Sends frames that go out as they come, the first event of which was committed at `oldest`: writes them at once if
    /// there is nothing before them, and else queues them. Returns how many are written, or begun.
    pub fn deliver(&self, oldest: Option<Timestamp>, frames: &Frames) -> usize {
        let (count, bytes) = (frames.count(), frames.wire().len());
        let mut state = self.state.lock();
        let Some(socket) = state.take_idle_socket() else {
            state.oldest = state.oldest.or(oldest);
            self.push_locked(state, std::iter::once(frames.clone()));
            return 0;
        };
        state.frames += count;
        state.bytes += bytes;
        drop(state);

        // After an error nothing is written, and the session's task meets it too.
        let written = wire::write_now(&socket, frames.wire()).unwrap_or(0);

        let mut state = self.state.lock();
        state.socket = Some(socket);
        if written == bytes {
            self.end_turn(state, Writer::Nobody, (count, bytes));
            return count;
        }
        let (unfinished, rest) = frames.after(written);
        let begun = count - rest.as_ref().map_or(0, Frames::count);
        let rest = rest.filter(|_| state.closed != Some(CloseReason::SlowConsumer));
        let left = rest.as_ref().map_or((0, 0), |rest| (rest.count(), rest.wire().len()));
        state.backlog.put_back(unfinished, rest);
        state.oldest = oldest.or(state.oldest);
        self.end_turn(state, Writer::Session, (count - left.0, bytes - left.1));
        begun
    }

    /// Queues the first of these frames, for as long as [`Self::has_space`], and returns how many; none if `ended` says
    /// that their time is over. Who first ends it and then pushes something else can be sure that they do not come behind
    /// that.
    pub fn push_while_space(&self, ended: &CancellationToken, frames: impl Iterator<Item = TextFrame>) -> u64 {
        let state = self.state.lock();
        if ended.is_cancelled() || state.closed.is_some() {
            return 0;
        }
        let (mut count, mut bytes) = (0, state.bytes);
        let (most_frames, most_bytes) = self.replay_bounds();
        let free = most_frames.saturating_sub(state.frames);
        let fitting = frames.take(free).take_while(|frame| {
            let fits = bytes < most_bytes;
            bytes += frame.len();
            count += u64::from(fits);
            fits
        });
        self.push_locked(state, fitting.map(Frames::from));
        count
    }

    /// Frames and bytes up to which replays fill the queue.
    fn replay_bounds(&self) -> (usize, usize) {
        (self.limits.frames / 2, REPLAY_BYTES.min(self.limits.bytes / 2))
    }

    fn push_locked(&self, mut state: MutexGuard<'_, State>, entries: impl Iterator<Item = Frames>) {
        self.queue(&mut state, entries);
        wake(state);
    }

    fn queue(&self, state: &mut State, entries: impl Iterator<Item = Frames>) {
        if state.closed.is_some() {
            return;
        }
        for frames in entries {
            let bytes = frames.wire().len();
            if state.frames + frames.count() > self.limits.frames || state.bytes + bytes > self.limits.bytes {
                state.close(CloseReason::SlowConsumer);
                self.drained.notify_waiters();
                break;
            }
            state.frames += frames.count();
            state.bytes += bytes;
            state.backlog.waiting.push_back(frames);
        }
    }

    /// Queues frames if that leaves half of the queue free, for who has another way if it does not. False if not.
    pub fn push_if_space(&self, frames: impl Iterator<Item = TextFrame> + Clone) -> bool {
        let (count, size) = frames.clone().fold((0, 0), |(count, size), frame| (count + 1, size + frame.len()));
        let state = self.state.lock();
        let fits = state.frames + count <= self.limits.frames / 2 && state.bytes + size <= self.limits.bytes / 2;
        if fits {
            self.push_locked(state, frames.map(Frames::from));
        }
        fits
    }

    /// Closes the queue: nothing more gets in. The first reason stands. What waits is still sent, unless the session is
    /// a slow consumer, which would not read it.
    pub fn close(&self, reason: CloseReason) {
        let mut state = self.state.lock();
        if state.closed.is_none() {
            state.close(reason);
        }
        wake(state);
        self.drained.notify_waiters();
    }

    /// Asks the session to leave, in its own time after this moment.
    pub fn ask_to_leave(&self, from: Instant) {
        let mut state = self.state.lock();
        state.leaving = Some(from);
        wake(state);
    }

    /// Is more than half of the queue taken?
    pub fn is_crowded(&self) -> bool {
        let state = self.state.lock();
        let crowded = state.frames > self.limits.frames / 2 || state.bytes > self.limits.bytes / 2;
        crowded && state.closed.is_none()
    }

    /// Why the queue is closed, if it is.
    pub fn closed(&self) -> Option<CloseReason> {
        self.state.lock().closed
    }

    /// Waits until there is something to take for the session's task, and takes it all, or says that the queue is closed
    /// or the session is to leave.
    pub fn poll_take(&self, cx: &Context<'_>, taken: &mut Taken) -> Poll<()> {
        let mut state = self.state.lock();
        let news = !state.backlog.is_empty() || state.closed.is_some() || state.leaving.is_some() != state.leaving_told;
        if !news {
            return state.wait(cx);
        }
        ready!(state.poll_turn(cx));
        state.take(taken);
        Poll::Ready(())
    }

    /// Takes all that waits for the session's task, even if that is nothing, as soon as no room is writing.
    pub async fn take(&self, taken: &mut Taken) {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            ready!(state.poll_turn(cx));
            state.take(taken);
            Poll::Ready(())
        })
        .await;
    }

    /// What the session's task has taken is written.
    pub fn written(&self, taken: &mut Taken) {
        let written = (std::mem::take(&mut taken.frames), std::mem::take(&mut taken.bytes));
        taken.backlog.waiting.clear();
        taken.backlog.shrink();
        self.end_turn(self.state.lock(), Writer::Nobody, written);
    }

    /// The session ends: no room writes any more. Gives out the rest of the frame in the middle of which the last one had
    /// to end.
    pub async fn retire(&self) -> Bytes {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            ready!(state.poll_turn(cx));
            state.socket = None;
            Poll::Ready(std::mem::take(&mut state.backlog.unfinished))
        })
        .await
    }

    /// So many frames and bytes were written, and this is who writes next.
    fn end_turn(&self, mut state: MutexGuard<'_, State>, writer: Writer, (frames, bytes): (usize, usize)) {
        state.writer = writer;
        state.frames -= frames;
        state.bytes -= bytes;
        let crowded_out = frames > 0 && std::mem::take(&mut state.crowded_out);
        wake(state);
        if crowded_out {
            self.drained.notify_waiters();
        }
    }

    /// Frames and bytes that wait or are being written.
    pub fn size(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.frames, state.bytes)
    }

    /// Waits until replays may queue more, which leaves most of the queue to live events. False when the queue is closed.
    pub async fn has_space(&self) -> bool {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            {
                let mut state = self.state.lock();
                if state.closed.is_some() {
                    return false;
                }
                let (most_frames, most_bytes) = self.replay_bounds();
                if state.frames < most_frames && state.bytes < most_bytes {
                    return true;
                }
                state.crowded_out = true;
            }
            drained.await;
        }
    }
}

/// Wakes the session's task if it waits for what there is now, unless a room is about to write it.
fn wake(mut state: MutexGuard<'_, State>) {
    let news = match state.writer {
        Writer::Nobody => {
            let queued_up = std::mem::take(&mut state.queued_up);
            queued_up || state.frames > 0 || state.closed.is_some() || state.leaving.is_some() != state.leaving_told
        }
        Writer::Room => false,
        Writer::Session => true,
    };
    let taker = if news { state.taker.take() } else { None };
    drop(state);
    if let Some(taker) = taker {
        taker.wake();
    }
}

impl State {
    /// The socket for who writes to it now, if nobody else does and nothing waits.
    fn take_idle_socket(&mut self) -> Option<Arc<TcpStream>> {
        if self.writer != Writer::Nobody || self.closed.is_some() || self.frames > 0 {
            return None;
        }
        let socket = self.socket.take()?;
        self.writer = Writer::Room;
        Some(socket)
    }

    fn take(&mut self, taken: &mut Taken) {
        std::mem::swap(&mut taken.backlog, &mut self.backlog);
        (taken.oldest, taken.closed, taken.leaving) = (self.oldest.take(), self.closed, self.leaving);
        self.leaving_told = self.leaving.is_some();
        (taken.frames, taken.bytes) = (self.frames, self.bytes);
    }

    /// Waits until no room writes, and then nobody does but the session's task.
    fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.writer == Writer::Room {
            self.queued_up = true;
            return self.wait(cx);
        }
        self.writer = Writer::Session;
        Poll::Ready(())
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if self.taker.as_ref().is_none_or(|taker| !taker.will_wake(cx.waker())) {
            self.taker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn close(&mut self, reason: CloseReason) {
        self.closed = Some(reason);
        if reason == CloseReason::SlowConsumer {
            // What is being written counts until it is.
            let (frames, bytes) = self.backlog.size();
            self.backlog.waiting.clear();
            self.frames -= frames;
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests;
