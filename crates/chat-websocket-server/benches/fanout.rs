//! What an event costs on its way through a room, without a socket: `cargo bench -p chat-websocket-server`.

use chat_domain::{ChannelId, Timestamp};
use chat_websocket_server::{
    frame::{Frames, TextFrame, UncheckedFrame},
    outbox::{Outbox, OutboxLimits, Taken},
    room::{
        SequencerLimits,
        event::{Published, RoomEvent},
        sequencer::Sequencer,
    },
};
use divan::{Bencher, black_box, counter::ItemsCount};
use futures_util::FutureExt;
use tokio::time::Instant;

const SESSIONS: usize = 1_000;
const BURST: usize = 32;

fn main() {
    divan::main();
}

fn channel() -> ChannelId {
    ChannelId::new(Timestamp::from_millis(0))
}

/// As a message server publishes it: 200 bytes of text, and who says it where.
fn payload(channel_id: ChannelId, seq: u64) -> Vec<u8> {
    let text = "x".repeat(200);
    let names = "n".repeat(400);
    format!(
        r#"{{"type":"MESSAGE","channelId":"{channel_id}","seq":{seq},"at":"2026-11-25T12:00:00.000Z","content":"{text}","sender":"{names}"}}"#
    )
    .into_bytes()
}

#[expect(clippy::panic, reason = "what does not parse has no speed")]
fn event(channel_id: ChannelId, seq: u64) -> RoomEvent {
    match Published::parse(channel_id, UncheckedFrame::new(&payload(channel_id, seq))) {
        Ok(Published::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

/// From the bytes that the bus brings to a frame that can be shared.
#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let channel_id = channel();
    let payload = payload(channel_id, 1);
    bencher.bench_local(|| Published::parse(channel_id, UncheckedFrame::new(black_box(&payload))));
}

/// Events in order.
#[divan::bench]
fn sequence(bencher: Bencher<'_, '_>) {
    let (channel_id, now) = (channel(), Instant::now());
    let inputs = || {
        let events: Vec<_> = (1..=BURST as u64).map(|seq| event(channel_id, seq)).collect();
        (Sequencer::new(0, SequencerLimits::default()), events, Vec::with_capacity(BURST))
    };
    bencher.counter(ItemsCount::new(BURST)).with_inputs(inputs).bench_local_values(
        |(mut sequencer, events, mut ready)| {
            for event in events {
                sequencer.offer(event, now, &mut ready);
            }
            (sequencer, ready)
        },
    );
}

/// One piece out of a burst.
#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let channel_id = channel();
    let frames: Vec<TextFrame> = (1..=BURST as u64).map(|seq| event(channel_id, seq).frame).collect();
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| Frames::join(black_box(&frames).iter()));
}

/// An event into the outbox of each session, and out again.
#[divan::bench]
fn enqueue(bencher: Bencher<'_, '_>) {
    let outbox = || Outbox::new(OutboxLimits { frames: 1_024, bytes: 1024 * 1024 });
    let outboxes: Vec<_> = (0..SESSIONS).map(|_| outbox()).collect();
    let mut taken: Vec<_> = (0..SESSIONS).map(|_| Taken::default()).collect();
    let event = event(channel(), 1);
    bencher.counter(ItemsCount::new(SESSIONS)).bench_local(|| {
        let frames = Frames::from(event.frame.clone());
        for (outbox, taken) in outboxes.iter().zip(&mut taken) {
            outbox.deliver(event.at, &frames);
            black_box(outbox.take(taken).now_or_never());
            outbox.written(taken);
        }
    });
}
