//! What waits to be sent to one session.
//!
//! Rooms push, the session's task takes everything at once and writes it in one go. The bound counts what waits and what
//! is being written. Who does not read as fast as its rooms talk is closed as a slow consumer: it comes back and resumes
//! from the log. Before that a room may wait for it a little, and the others in the room with it.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use chat_domain::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    frame::{Frames, TextFrame},
    protocol::CloseReason,
};

/// Bytes that replays keep waiting for one session: enough for one write, and little for each of many thousand sessions
/// that come back at once and read slowly.
const REPLAY_BYTES: usize = 64 * 1024;
/// Entries for which memory is kept: what is more goes back after a burst.
const KEPT: usize = 4;

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
    waiting: VecDeque<Frames>,
    /// Frames that wait or are being written.
    frames: usize,
    /// Their bytes.
    bytes: usize,
    /// When the oldest of the live events that wait was committed.
    oldest: Option<Timestamp>,
    closed: Option<CloseReason>,
    /// The session is to leave in its own time.
    leaving: bool,
    /// Woken when there is something to take.
    taker: Option<Waker>,
    /// Somebody waits for room.
    crowded_out: bool,
}

/// What a session's task has taken out to write. It counts until the next is taken.
#[derive(Debug, Default)]
pub struct Taken {
    /// What is to be written.
    pub waiting: VecDeque<Frames>,
    /// When the oldest live event among it was committed.
    pub oldest: Option<Timestamp>,
    /// Why the queue is closed, if it is. What was queued before that is in `waiting`.
    pub closed: Option<CloseReason>,
    /// The session is to leave in its own time.
    pub leaving: bool,
    frames: usize,
    bytes: usize,
}

impl Taken {
    /// How many frames were taken.
    pub const fn frames(&self) -> usize {
        self.frames
    }

    /// It is written. Returns how many frames and bytes it was.
    fn forget(&mut self) -> (usize, usize) {
        self.waiting.clear();
        self.waiting.shrink_to(KEPT);
        (std::mem::take(&mut self.frames), std::mem::take(&mut self.bytes))
    }
}

impl Outbox {
    /// An empty queue.
    pub fn new(limits: OutboxLimits) -> Self {
        Self { limits, state: Mutex::default(), drained: Notify::new() }
    }

    /// Queues a frame. A frame that does not fit closes the queue as a slow consumer's.
    pub fn push(&self, frame: TextFrame) {
        self.push_locked(self.state.lock(), std::iter::once(frame.into()));
    }

    /// Queues events that go out as they come, the first of which was committed at `oldest`.
    pub fn push_live(&self, oldest: Option<Timestamp>, events: Frames) {
        let mut state = self.state.lock();
        state.oldest = state.oldest.or(oldest);
        self.push_locked(state, std::iter::once(events));
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
            state.waiting.push_back(frames);
        }
        wake(state);
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

    /// Asks the session to leave, in its own time.
    pub fn ask_to_leave(&self) {
        let mut state = self.state.lock();
        state.leaving = true;
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

    /// Waits until there is something to take, and takes it all, or says that the queue is closed or the session is to
    /// leave. What was taken before is written. For one task at a time.
    pub fn poll_take(&self, cx: &Context<'_>, taken: &mut Taken) -> Poll<()> {
        let mut state = self.state.lock();
        let news = !state.waiting.is_empty() || state.closed.is_some() || state.leaving != taken.leaving;
        if !news {
            if state.taker.as_ref().is_none_or(|taker| !taker.will_wake(cx.waker())) {
                state.taker = Some(cx.waker().clone());
            }
            self.release(state, taken.forget());
            return Poll::Pending;
        }
        self.take_locked(state, taken);
        Poll::Ready(())
    }

    /// Takes all that waits. What was taken before is written.
    pub fn take(&self, taken: &mut Taken) {
        self.take_locked(self.state.lock(), taken);
    }

    fn take_locked(&self, mut state: MutexGuard<'_, State>, taken: &mut Taken) {
        let before = taken.forget();
        std::mem::swap(&mut taken.waiting, &mut state.waiting);
        (taken.oldest, taken.closed, taken.leaving) = (state.oldest.take(), state.closed, state.leaving);
        (taken.frames, taken.bytes) = (state.frames - before.0, state.bytes - before.1);
        self.release(state, before);
    }

    /// What was taken is written, for who does not take more.
    pub fn written(&self, taken: &mut Taken) {
        self.release(self.state.lock(), taken.forget());
    }

    fn release(&self, mut state: MutexGuard<'_, State>, (frames, bytes): (usize, usize)) {
        state.frames -= frames;
        state.bytes -= bytes;
        let crowded_out = frames > 0 && std::mem::take(&mut state.crowded_out);
        drop(state);
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

/// Wakes the session's task if it waits for what there is now.
fn wake(mut state: MutexGuard<'_, State>) {
    let news = !state.waiting.is_empty() || state.closed.is_some() || state.leaving;
    let taker = if news { state.taker.take() } else { None };
    drop(state);
    if let Some(taker) = taker {
        taker.wake();
    }
}

impl State {
    fn close(&mut self, reason: CloseReason) {
        self.closed = Some(reason);
        if reason == CloseReason::SlowConsumer {
            // What is being written counts until it is.
            let waiting = std::mem::take(&mut self.waiting);
            self.frames -= waiting.iter().map(Frames::count).sum::<usize>();
            self.bytes -= waiting.iter().map(|frames| frames.wire().len()).sum::<usize>();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use super::*;

    fn outbox(frames: usize, bytes: usize) -> Outbox {
        Outbox::new(OutboxLimits { frames, bytes })
    }

    /// Each is three bytes on the wire.
    fn push(outbox: &Outbox, letters: &str) {
        letters.chars().for_each(|letter| outbox.push(frame(letter)));
    }

    fn frame(letter: char) -> TextFrame {
        TextFrame::from(&*letter.to_string())
    }

    fn letters(taken: &Taken) -> String {
        taken.waiting.iter().flat_map(Frames::texts).collect()
    }

    fn take(outbox: &Outbox) -> (String, Taken) {
        let mut taken = Taken::default();
        outbox.take(&mut taken);
        (letters(&taken), taken)
    }

    #[tokio::test]
    async fn all_that_waits_is_taken_at_once_and_in_order() {
        let outbox = Arc::new(outbox(10, 100));
        let mut taken = Taken::default();
        let taking = poll_fn(|cx| outbox.poll_take(cx, &mut taken));
        tokio::pin!(taking);
        assert!(futures_util::poll!(taking.as_mut()).is_pending());
        push(&outbox, "a");
        outbox.push_live(None, Frames::join([frame('b'), frame('c')].iter()));
        taking.await;
        assert_eq!((letters(&taken), taken.frames(), taken.waiting.len()), ("abc".into(), 3, 2));
        assert_eq!(take(&outbox).0, "");
    }

    #[test]
    fn the_oldest_live_event_is_dated() {
        let (outbox, at) = (outbox(10, 100), Timestamp::from_millis);
        push(&outbox, "x");
        assert_eq!(take(&outbox).1.oldest, None);
        outbox.push_live(Some(at(1)), frame('a').into());
        outbox.push_live(Some(at(2)), frame('b').into());
        let (letters, taken) = take(&outbox);
        assert_eq!((&*letters, taken.oldest), ("ab", Some(at(1))));
        assert_eq!(take(&outbox).1.oldest, None, "it was taken");
    }

    #[test]
    fn too_many_frames_or_bytes_are_a_slow_consumer() {
        for outbox in [outbox(2, 100), outbox(10, 6)] {
            push(&outbox, "ab");
            assert_eq!(outbox.closed(), None);
            push(&outbox, "c");
            let (letters, taken) = take(&outbox);
            assert_eq!((&*letters, taken.closed), ("", Some(CloseReason::SlowConsumer)), "it is not written to");
            assert_eq!(outbox.size(), (0, 0));
        }
    }

    #[test]
    fn what_is_being_written_counts() {
        let outbox = outbox(2, 100);
        push(&outbox, "ab");
        let (_, mut taken) = take(&outbox);
        assert_eq!(outbox.size(), (2, 6));
        outbox.written(&mut taken);
        push(&outbox, "cd");
        outbox.take(&mut taken);
        assert_eq!((outbox.size(), outbox.closed()), ((2, 6), None));
        push(&outbox, "e");
        assert_eq!(outbox.closed(), Some(CloseReason::SlowConsumer));
        outbox.written(&mut taken);
        assert_eq!(outbox.size(), (0, 0));
    }

    #[test]
    fn who_takes_more_has_written_what_it_took() {
        let outbox = outbox(4, 100);
        push(&outbox, "ab");
        let (_, mut taken) = take(&outbox);
        push(&outbox, "c");
        outbox.take(&mut taken);
        assert_eq!((&*letters(&taken), taken.frames(), outbox.size()), ("c", 1, (1, 3)));
    }

    #[tokio::test]
    async fn the_memory_of_a_burst_goes_back_when_it_is_written() {
        let outbox = outbox(1_000, 10_000);
        push(&outbox, &"x".repeat(500));
        let (_, mut taken) = take(&outbox);
        assert!(taken.waiting.capacity() >= 500);
        let idle = poll_fn(|cx| outbox.poll_take(cx, &mut taken));
        tokio::pin!(idle);
        assert!(futures_util::poll!(idle).is_pending());
        assert_eq!((taken.waiting.capacity(), outbox.size()), (KEPT, (0, 0)));
        assert!(outbox.state.lock().waiting.capacity() <= KEPT);
    }

    #[test]
    fn the_first_reason_stands_and_what_waits_is_sent() {
        let outbox = outbox(2, 100);
        push(&outbox, "a");
        outbox.close(CloseReason::Draining);
        outbox.close(CloseReason::Forbidden);
        push(&outbox, "b");
        let (letters, taken) = take(&outbox);
        assert_eq!((&*letters, taken.closed), ("a", Some(CloseReason::Draining)));
    }

    #[tokio::test]
    async fn who_is_to_leave_is_told_once() {
        let outbox = outbox(2, 100);
        outbox.ask_to_leave();
        let mut taken = Taken::default();
        poll_fn(|cx| outbox.poll_take(cx, &mut taken)).await;
        assert!(taken.leaving);
        let again = poll_fn(|cx| outbox.poll_take(cx, &mut taken));
        tokio::pin!(again);
        assert!(futures_util::poll!(again.as_mut()).is_pending());
        push(&outbox, "a");
        again.await;
    }

    #[test]
    fn what_is_over_is_not_queued() {
        let (outbox, ended) = (outbox(10, 100), CancellationToken::new());
        assert_eq!(outbox.push_while_space(&ended, [frame('a')].into_iter()), 1);
        ended.cancel();
        assert_eq!(outbox.push_while_space(&ended, [frame('b')].into_iter()), 0);
        assert_eq!(take(&outbox).0, "a");
    }

    #[test]
    fn a_replay_leaves_half_of_the_queue_free() {
        let frames = || ('0'..='9').map(frame);
        let ended = CancellationToken::new();
        let few = outbox(6, 100);
        assert_eq!((few.push_while_space(&ended, frames()), few.push_while_space(&ended, frames())), (3, 0));
        assert_eq!(take(&few).0, "012");
        assert_eq!(outbox(100, 24).push_while_space(&ended, frames()), 4);
        let large = outbox(100, 1024 * 1024);
        let page = || (0..10).map(|_| TextFrame::from(&*"x".repeat(REPLAY_BYTES / 2)));
        assert_eq!(large.push_while_space(&ended, page()), 2, "and less than that if it is large");
    }

    #[tokio::test]
    async fn who_can_wait_waits_for_space() {
        let outbox = Arc::new(outbox(4, 100));
        push(&outbox, "abcd");
        let waiting = {
            let outbox = Arc::clone(&outbox);
            async move { outbox.has_space().await }
        };
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        let (_, mut taken) = take(&outbox);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending(), "taken is not written");
        outbox.written(&mut taken);
        assert!(waiting.await);
        outbox.close(CloseReason::Normal);
        assert!(!outbox.has_space().await);
    }
}
