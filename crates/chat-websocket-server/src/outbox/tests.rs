use std::{future::poll_fn, time::Duration};

use futures_util::FutureExt;
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinSet, time::timeout};

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
    let now = Instant::now();
    outbox.ask_to_leave(now);
    let mut taken = Taken::default();
    poll_fn(|cx| outbox.poll_take(cx, &mut taken)).await;
    assert_eq!(taken.leaving, Some(now));
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
async fn who_waits_for_a_room_is_woken_when_it_has_written_everything() {
    let (outbox, _client) = lent().await;
    let mut taken = Taken::default();
    let socket = outbox.state.lock().take_idle_socket();
    {
        let taking = outbox.take(&mut taken);
        tokio::pin!(taking);
        assert!(futures_util::poll!(taking.as_mut()).is_pending());
        outbox.state.lock().socket = socket;
        outbox.end_turn(outbox.state.lock(), Writer::Nobody, (0, 0));
        timeout(Duration::from_secs(10), taking).await.unwrap();
    }
    outbox.written(&mut taken);
    assert_eq!(outbox.deliver(None, &frame('a').into()), 1, "and gives its turn back");
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
