//! Whatever happens on the way, each event is heard once and in order.

use std::collections::VecDeque;

use super::*;

/// What happens to the stream of a server that has a log of `HEAD` events and answers each SUBSCRIBE as documented.
#[derive(Clone, Debug)]
enum Fault {
    Lose,
    Repeat,
    Swap,
    Disconnect,
    None,
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        2 => Just(Fault::Lose),
        2 => Just(Fault::Repeat),
        2 => Just(Fault::Swap),
        1 => Just(Fault::Disconnect),
        5 => Just(Fault::None),
    ];
    vec(fault, 0..300)
}

const HEAD: u64 = 40;
const PAGE: u64 = 4;

/// What is on its way to the client.
#[derive(Clone, Copy)]
enum OnTheWire {
    Event(u64),
    Subscribed(u64),
    Reset,
    Page(Load),
}

struct Client {
    subscriptions: Subscriptions,
    now: Instant,
    heard: Vec<u64>,
}

impl Client {
    fn event(&mut self, seq: u64) -> Verdict {
        let verdict = self.subscriptions.event(channel(1), seq, self.now);
        self.heard.extend((verdict == Verdict::Deliver).then_some(seq));
        verdict
    }

    fn take(&mut self, frame: OnTheWire) -> Verdict {
        match frame {
            OnTheWire::Event(seq) => return self.event(seq),
            OnTheWire::Subscribed(id) => return self.subscriptions.subscribed(&subscribed(id, HEAD)),
            OnTheWire::Reset => {
                let (reason, epoch) = (ResetReason::TooMany, epoch(1));
                let frame = Reset { channel_id: channel(1), reason, head_seq: HEAD, oldest_seq: 1, epoch };
                assert_eq!(self.subscriptions.reset(&frame, self.now), ResetVerdict::Keep);
            }
            OnTheWire::Page(load) => {
                if self.subscriptions.page(&load, epoch(1), 1) {
                    let end = (load.after_seq + PAGE).min(HEAD);
                    for seq in load.after_seq + 1..=end {
                        self.event(seq);
                    }
                    self.subscriptions.page_end(&load, end < HEAD, self.now);
                }
            }
        }
        Verdict::Deliver
    }

    fn disconnect(&mut self, wire: &mut VecDeque<OnTheWire>) {
        wire.clear();
        self.subscriptions.disconnected();
    }
}

/// Runs the subscription to the end of the log; each frame on its way meets the next fault. More than `replay_limit`
/// events are not replayed.
fn heard_with(faults: Vec<Fault>, from: u64, replay_limit: u64) -> Vec<u64> {
    let subscriptions = Subscriptions::new(Duration::from_secs(30), true);
    let mut client = Client { subscriptions, now: Instant::now(), heard: Vec::new() };
    client.subscriptions.subscribe(channel(1), at(from));
    let (mut faults, mut wire) = (faults.into_iter(), VecDeque::new());
    loop {
        for frame in client.subscriptions.ask(client.now, 16_384) {
            let frame: serde_json::Value = serde_json::from_str(&frame).unwrap();
            let after = frame["channels"][0]["afterSeq"].as_u64().unwrap();
            if HEAD - after > replay_limit {
                wire.push_back(OnTheWire::Reset);
            } else {
                wire.extend((after + 1..=HEAD).map(OnTheWire::Event));
            }
            wire.push_back(OnTheWire::Subscribed(frame["id"].as_u64().unwrap()));
        }
        wire.extend(client.subscriptions.next_load().map(OnTheWire::Page));
        let Some(frame) = wire.pop_front() else {
            match client.subscriptions.due(client.now) {
                // A page was put off, or a confirmation was passed over.
                Some(due) if due > client.now => client.now = due,
                _ => return client.heard,
            }
            if client.subscriptions.is_unanswered(client.now) {
                client.disconnect(&mut wire);
            }
            continue;
        };
        let verdict = match (faults.next().unwrap_or(Fault::None), frame) {
            (Fault::Repeat, frame) => {
                client.take(frame);
                client.take(frame)
            }
            (Fault::Lose, OnTheWire::Event(_)) => Verdict::Drop,
            (Fault::Lose, OnTheWire::Page(load)) => {
                client.subscriptions.load_failed(&load, client.now);
                Verdict::Drop
            }
            (Fault::Swap, frame) => {
                wire.insert(wire.len().min(1), frame);
                Verdict::Drop
            }
            (Fault::Disconnect, _) => Verdict::Broken,
            // The loss of a confirmation cannot be seen by anyone but by waiting; TCP does not do that.
            (Fault::None | Fault::Lose, frame) => client.take(frame),
        };
        if verdict == Verdict::Broken {
            client.disconnect(&mut wire);
        }
    }
}

proptest! {
    #[test]
    fn each_event_is_heard_once_and_in_order_whatever_happens(
        faults in faults(), from in 0..HEAD, replay_limit in 1..=HEAD
    ) {
        prop_assert_eq!(heard_with(faults, from, replay_limit), (from + 1..=HEAD).collect::<Vec<_>>());
    }

    #[test]
    fn no_sequence_of_frames_makes_it_deliver_out_of_order(
        frames in vec((0..6_u8, 0..12_u64), 0..200), from in proptest::option::of(0..5_u64)
    ) {
        let (mut subscriptions, now) = asked(from.and_then(at));
        let mut last: Option<u64> = None;
        for (kind, number) in frames {
            match kind {
                0 => { subscriptions.subscribed(&subscribed(number, number)); }
                1 => subscriptions.disconnected(),
                2 => { subscriptions.ask(now, 16_384); }
                3 => { subscriptions.refused(&refusal(number, true), now); }
                _ => if subscriptions.event(channel(1), number, now) == Verdict::Deliver {
                    prop_assert!(last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
                    last = Some(number);
                }
            }
        }
    }
}
