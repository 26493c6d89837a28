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
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use chat_domain::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::{net::TcpStream, sync::Notify};
use tokio_util::sync::CancellationToken;

use crate::{
    frame::{Frames, TextFrame},
    protocol::CloseReason,
    wire::{self, Backlog},
};

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
    /// The session is to leave in its own time.
    leaving: bool,
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

    /// Waits until there is something to take for the session's task, and takes it all, or says that the queue is closed
    /// or the session is to leave.
    pub fn poll_take(&self, cx: &Context<'_>, taken: &mut Taken) -> Poll<()> {
        let mut state = self.state.lock();
        let news = !state.backlog.is_empty() || state.closed.is_some() || state.leaving != taken.leaving;
        if !news || state.writer == Writer::Room {
            return state.wait(cx);
        }
        state.writer = Writer::Session;
        state.take(taken);
        Poll::Ready(())
    }

    /// Takes all that waits for the session's task, even if that is nothing, as soon as no room is writing.
    pub async fn take(&self, taken: &mut Taken) {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.writer == Writer::Room {
                return state.wait(cx);
            }
            state.writer = Writer::Session;
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
            if state.writer == Writer::Room {
                return state.wait(cx);
            }
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
        Writer::Nobody => state.frames > 0 || state.closed.is_some() || state.leaving,
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
        (taken.frames, taken.bytes) = (self.frames, self.bytes);
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
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;
    use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinSet};

    use super::*;
    use crate::wire::KEPT;

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
        taken.backlog.waiting.iter().flat_map(Frames::texts).collect()
    }

    fn take(outbox: &Outbox) -> (String, Taken) {
        let mut taken = Taken::default();
        outbox.take(&mut taken).now_or_never().unwrap();
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
        assert_eq!(outbox.deliver(None, &Frames::join([frame('b'), frame('c')].iter())), 0, "no room has a socket");
        taking.await;
        assert_eq!((letters(&taken), taken.frames(), taken.backlog.waiting.len()), ("abc".into(), 3, 2));
        assert_eq!(take(&outbox).0, "");
    }

    #[test]
    fn the_oldest_live_event_is_dated() {
        let (outbox, at) = (outbox(10, 100), Timestamp::from_millis);
        push(&outbox, "x");
        assert_eq!(take(&outbox).1.oldest, None);
        outbox.deliver(Some(at(1)), &frame('a').into());
        outbox.deliver(Some(at(2)), &frame('b').into());
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
        outbox.take(&mut taken).now_or_never().unwrap();
        assert_eq!((outbox.size(), outbox.closed()), ((2, 6), None));
        push(&outbox, "e");
        assert_eq!(outbox.closed(), Some(CloseReason::SlowConsumer));
        outbox.written(&mut taken);
        assert_eq!(outbox.size(), (0, 0));
    }

    #[test]
    fn the_memory_of_a_burst_goes_back_when_it_is_written() {
        let outbox = outbox(1_000, 10_000);
        push(&outbox, &"x".repeat(500));
        let (_, mut taken) = take(&outbox);
        assert!(taken.backlog.waiting.capacity() >= 500);
        outbox.written(&mut taken);
        assert_eq!((taken.backlog.waiting.capacity(), outbox.size()), (KEPT, (0, 0)));
        assert!(outbox.state.lock().backlog.waiting.capacity() <= KEPT);
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

    /// An outbox with a socket that rooms may write to, and its other end.
    async fn lent() -> (Outbox, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        socket.writable().await.unwrap();
        let outbox = outbox(1_000, 64 * 1024 * 1024);
        outbox.lend(Arc::new(socket));
        (outbox, client)
    }

    async fn read(client: &mut TcpStream, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        client.read_exact(&mut read).await.unwrap();
        read
    }

    #[tokio::test]
    async fn a_room_writes_unless_something_waits_or_is_being_written() {
        let (outbox, mut client) = lent().await;
        assert_eq!(outbox.deliver(None, &frame('a').into()), 1);
        assert_eq!((read(&mut client, 3).await, outbox.size()), (b"\x81\x01a".to_vec(), (0, 0)));

        push(&outbox, "b");
        assert_eq!(outbox.deliver(None, &frame('c').into()), 0, "it comes behind what waits");
        let (waiting, mut taken) = take(&outbox);
        assert_eq!(waiting, "bc");
        assert_eq!(outbox.deliver(None, &frame('d').into()), 0, "the session is writing");
        outbox.written(&mut taken);
        assert_eq!(outbox.deliver(None, &frame('e').into()), 0, "and it has more to write");
        outbox.take(&mut taken).await;
        assert_eq!(letters(&taken), "de");
        outbox.written(&mut taken);
        assert_eq!(outbox.deliver(None, &frame('f').into()), 1);
    }

    #[tokio::test]
    async fn what_the_socket_does_not_take_is_left_to_the_session() {
        let (outbox, mut client) = lent().await;
        let large = TextFrame::from(&*"x".repeat(16 * 1024 * 1024));
        let joined = Frames::join([frame('a'), large.clone(), frame('b')].iter());
        let mut taken = Taken::default();
        let session = poll_fn(|cx| outbox.poll_take(cx, &mut taken));
        tokio::pin!(session);
        assert!(futures_util::poll!(session.as_mut()).is_pending());

        assert_eq!(outbox.deliver(Some(Timestamp::from_millis(1)), &joined), 2);

        assert_eq!(outbox.deliver(None, &frame('c').into()), 0, "it is the session's");
        session.await;
        assert_eq!((letters(&taken), taken.oldest), ("bc".into(), Some(Timestamp::from_millis(1))));
        assert_eq!(outbox.size(), (2, 6), "begun is as good as written");
        let begun = 3 + large.len() - taken.backlog.unfinished.len();
        let read = read(&mut client, begun).await;
        let whole = [&read, &taken.backlog.unfinished[..], b"\x81\x01b"].concat();
        assert!(whole == *joined.wire());
    }

    #[tokio::test]
    async fn a_slow_consumer_is_sent_the_rest_of_a_frame_and_no_more() {
        let (outbox, _client) = lent().await;
        let large = TextFrame::from(&*"x".repeat(16 * 1024 * 1024));
        outbox.deliver(None, &Frames::join([large, frame('b')].iter()));
        outbox.close(CloseReason::SlowConsumer);
        let mut taken = Taken::default();
        poll_fn(|cx| outbox.poll_take(cx, &mut taken)).await;
        assert_eq!((taken.closed, taken.frames(), outbox.size()), (Some(CloseReason::SlowConsumer), 0, (0, 0)));
        assert!(!taken.backlog.unfinished.is_empty() && taken.backlog.waiting.is_empty());
    }

    /// Rooms write, push and a session takes, all at the same time: nothing is lost, repeated, torn or overtaken.
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn all_that_write_take_turns() {
        const EACH: u16 = 5_000;
        let (outbox, mut client) = lent().await;
        let outbox = Arc::new(outbox);
        let socket = Arc::clone(outbox.state.lock().socket.as_ref().unwrap());
        let numbered = |by: char, number: u16| TextFrame::from(&*format!("{by}{number:05}"));
        let mut tasks = JoinSet::new();
        for by in ['a', 'b', 'c'] {
            let outbox = Arc::clone(&outbox);
            tasks.spawn(async move {
                for number in 0..EACH {
                    while outbox.is_crowded() {
                        tokio::task::yield_now().await;
                    }
                    match by {
                        'c' => outbox.push(numbered(by, number)),
                        _ => _ = outbox.deliver(None, &numbered(by, number).into()),
                    }
                }
            });
        }
        let session = Arc::clone(&outbox);
        let session = tasks.spawn(async move {
            let mut taken = Taken::default();
            loop {
                poll_fn(|cx| session.poll_take(cx, &mut taken)).await;
                poll_fn(|cx| taken.backlog.poll_write(&socket, cx)).await.unwrap();
                session.written(&mut taken);
            }
        });

        let mut next = [0; 3];
        for _ in 0..3 * EACH {
            let frame = read(&mut client, 8).await;
            let text = std::str::from_utf8(&frame[2..]).unwrap();
            let by = usize::from(text.as_bytes()[0] - b'a');
            assert_eq!((&frame[..2], text[1..].parse()), (&b"\x81\x06"[..], Ok(next[by])));
            next[by] += 1;
        }
        session.abort();
        while let Some(ended) = tasks.join_next().await {
            assert!(ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()));
        }
        assert_eq!((next, outbox.closed(), outbox.size()), ([EACH; 3], None, (0, 0)));
    }

    #[tokio::test]
    async fn no_room_writes_for_a_session_that_has_ended() {
        let (outbox, _client) = lent().await;
        outbox.close(CloseReason::Normal);
        assert!(outbox.retire().await.is_empty());
        assert_eq!(outbox.deliver(None, &frame('a').into()), 0);
        assert!(outbox.state.lock().socket.is_none(), "it can be closed");
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
