//! What waits to be sent to one session.
//!
//! Rooms push, the session's task takes everything at once and writes it in one go. The bound counts what waits and what
//! is being written. Who does not read as fast as its rooms talk is closed as a slow consumer: it comes back and resumes
//! from the log. Before that a room may wait for it a little, and the others in the room with it.

use std::collections::VecDeque;

use chat_domain::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use crate::protocol::CloseReason;

/// Bytes that replays keep waiting for one session: enough for one write, and little for each of many thousand sessions
/// that come back at once and read slowly.
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
    /// Told when there is something to take.
    filled: Notify,
    /// Told when there is room again.
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Utf8Bytes>,
    /// Frames that wait or are being written.
    frames: usize,
    /// Their bytes.
    bytes: usize,
    /// When the oldest of the live events that wait was committed.
    oldest: Option<Timestamp>,
    closed: Option<CloseReason>,
}

impl Outbox {
    /// An empty queue.
    pub fn new(limits: OutboxLimits) -> Self {
        Self { limits, state: Mutex::default(), filled: Notify::new(), drained: Notify::new() }
    }

    /// Queues a frame. A frame that does not fit closes the queue as a slow consumer's.
    pub fn push(&self, frame: Utf8Bytes) {
        self.push_all(std::iter::once(frame));
    }

    /// Queues frames in order, under one lock. The first that does not fit closes the queue as a slow consumer's.
    pub fn push_all(&self, frames: impl IntoIterator<Item = Utf8Bytes>) {
        self.push_locked(self.state.lock(), frames);
    }

    /// The same for events that go out as they come, the first of which was committed at `oldest`.
    pub fn push_live(&self, oldest: Option<Timestamp>, frames: impl IntoIterator<Item = Utf8Bytes>) {
        let mut state = self.state.lock();
        state.oldest = state.oldest.or(oldest);
        self.push_locked(state, frames);
    }

    /// Queues the first of these frames, for as long as [`Self::has_space`], and returns how many; none if `ended` says
    /// that their time is over. Who first ends it and then pushes something else can be sure that they do not come behind
    /// that.
    pub fn push_while_space(&self, ended: &CancellationToken, frames: impl Iterator<Item = Utf8Bytes>) -> u64 {
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
        self.push_locked(state, fitting);
        count
    }

    /// Frames and bytes up to which replays fill the queue.
    fn replay_bounds(&self) -> (usize, usize) {
        (self.limits.frames / 2, REPLAY_BYTES.min(self.limits.bytes / 2))
    }

    fn push_locked(&self, mut state: MutexGuard<'_, State>, frames: impl IntoIterator<Item = Utf8Bytes>) {
        if state.closed.is_some() {
            return;
        }
        let was_empty = state.waiting.is_empty();
        for frame in frames {
            if state.frames + 1 > self.limits.frames || state.bytes + frame.len() > self.limits.bytes {
                state.close(CloseReason::SlowConsumer);
                self.drained.notify_waiters();
                break;
            }
            state.frames += 1;
            state.bytes += frame.len();
            state.waiting.push_back(frame);
        }
        let woken = was_empty && (!state.waiting.is_empty() || state.closed.is_some());
        drop(state);
        if woken {
            self.filled.notify_one();
        }
    }

    /// Queues frames if that leaves half of the queue free, for who has another way if it does not. False if not.
    pub fn push_if_space(&self, frames: impl Iterator<Item = Utf8Bytes> + Clone) -> bool {
        let (count, size) = frames.clone().fold((0, 0), |(count, size), frame| (count + 1, size + frame.len()));
        let state = self.state.lock();
        let fits = state.frames + count <= self.limits.frames / 2 && state.bytes + size <= self.limits.bytes / 2;
        if fits {
            self.push_locked(state, frames);
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
        drop(state);
        self.filled.notify_one();
        self.drained.notify_waiters();
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

    /// Waits until there is something to take, or the queue is closed.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes all that waits. It counts until [`Self::written`].
    pub fn take(&self) -> VecDeque<Utf8Bytes> {
        self.take_dated().0
    }

    /// The same, with the moment at which the oldest live event among it was committed.
    pub fn take_dated(&self) -> (VecDeque<Utf8Bytes>, Option<Timestamp>) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.waiting), state.oldest.take())
    }

    /// Frames and bytes that wait or are being written.
    pub fn size(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.frames, state.bytes)
    }

    /// What was taken is written.
    pub fn written(&self, frames: usize, bytes: usize) {
        let mut state = self.state.lock();
        state.frames -= frames.min(state.frames);
        state.bytes -= bytes.min(state.bytes);
        drop(state);
        self.drained.notify_waiters();
    }

    /// Waits until replays may queue more, which leaves most of the queue to live events. False when the queue is closed.
    pub async fn has_space(&self) -> bool {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            {
                let state = self.state.lock();
                if state.closed.is_some() {
                    return false;
                }
                let (most_frames, most_bytes) = self.replay_bounds();
                if state.frames < most_frames && state.bytes < most_bytes {
                    return true;
                }
            }
            drained.await;
        }
    }
}

impl State {
    fn close(&mut self, reason: CloseReason) {
        self.closed = Some(reason);
        if reason == CloseReason::SlowConsumer {
            self.waiting = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn outbox(frames: usize, bytes: usize) -> Outbox {
        Outbox::new(OutboxLimits { frames, bytes })
    }

    #[tokio::test]
    async fn all_that_waits_is_taken_at_once_and_in_order() {
        let outbox = outbox(10, 100);
        outbox.push("a".into());
        outbox.push_all(["b".into(), "c".into()]);
        outbox.filled().await;
        assert_eq!(outbox.take(), ["a", "b", "c"]);
        assert!(outbox.take().is_empty());
    }

    #[test]
    fn the_oldest_live_event_is_dated() {
        let (outbox, at) = (outbox(10, 100), Timestamp::from_millis);
        outbox.push("an answer".into());
        assert_eq!(outbox.take_dated().1, None);
        outbox.push_live(Some(at(1)), ["a".into()]);
        outbox.push_live(Some(at(2)), ["b".into()]);
        assert_eq!(outbox.take_dated(), (["a".into(), "b".into()].into(), Some(at(1))));
        assert_eq!(outbox.take_dated().1, None, "it was taken");
    }

    #[test]
    fn too_many_frames_or_bytes_are_a_slow_consumer() {
        for outbox in [outbox(2, 100), outbox(10, 2)] {
            outbox.push_all(["a".into(), "b".into()]);
            assert_eq!(outbox.closed(), None);
            outbox.push("c".into());
            assert_eq!(outbox.closed(), Some(CloseReason::SlowConsumer));
            assert!(outbox.take().is_empty(), "who does not read is not written to");
        }
    }

    #[test]
    fn what_is_being_written_counts() {
        let outbox = outbox(2, 100);
        outbox.push_all(["a".into(), "b".into()]);
        let taken = outbox.take();
        outbox.written(taken.len(), 2);
        outbox.push_all(["c".into(), "d".into()]);
        assert_eq!(outbox.closed(), None);
        outbox.take();
        outbox.push("e".into());
        assert_eq!(outbox.closed(), Some(CloseReason::SlowConsumer));
    }

    #[test]
    fn the_first_reason_stands_and_what_waits_is_sent() {
        let outbox = outbox(2, 100);
        outbox.push("a".into());
        outbox.close(CloseReason::Draining);
        outbox.close(CloseReason::Forbidden);
        outbox.push("late".into());
        assert_eq!(outbox.closed(), Some(CloseReason::Draining));
        assert_eq!(outbox.take(), ["a"]);
    }

    #[test]
    fn what_is_over_is_not_queued() {
        let (outbox, ended) = (outbox(10, 100), CancellationToken::new());
        assert_eq!(outbox.push_while_space(&ended, ["a".into()].into_iter()), 1);
        ended.cancel();
        assert_eq!(outbox.push_while_space(&ended, ["b".into()].into_iter()), 0);
        assert_eq!(outbox.take(), ["a"]);
    }

    #[test]
    fn a_replay_leaves_half_of_the_queue_free() {
        let frames = || (0..10).map(|n| n.to_string().into());
        let ended = CancellationToken::new();
        let few = outbox(6, 100);
        assert_eq!((few.push_while_space(&ended, frames()), few.push_while_space(&ended, frames())), (3, 0));
        assert_eq!(few.take(), ["0", "1", "2"]);
        assert_eq!(outbox(100, 8).push_while_space(&ended, frames()), 4);
        let large = outbox(100, 1024 * 1024);
        let page = || (0..10).map(|_| "x".repeat(REPLAY_BYTES / 2).into());
        assert_eq!(large.push_while_space(&ended, page()), 2, "and less than that if it is large");
    }

    #[tokio::test]
    async fn who_can_wait_waits_for_space() {
        let outbox = Arc::new(outbox(4, 100));
        outbox.push_all((0..4).map(|n| n.to_string().into()));
        let waiting = {
            let outbox = Arc::clone(&outbox);
            async move { outbox.has_space().await }
        };
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        let taken = outbox.take();
        assert!(futures_util::poll!(waiting.as_mut()).is_pending(), "taken is not written");
        outbox.written(taken.len(), 4);
        assert!(waiting.await);
        outbox.close(CloseReason::Normal);
        assert!(!outbox.has_space().await);
    }
}
