use proptest::{collection::vec, prelude::*};

use super::*;

fn channel(number: u32) -> ChannelId {
    uuid::Uuid::from_u128(u128::from(number)).into()
}

fn epoch(number: u128) -> Epoch {
    uuid::Uuid::from_u128(number).into()
}

fn at(seq: u64) -> Option<Position> {
    Some(Position { seq, epoch: Some(epoch(1)) })
}

fn subscribed(id: u64, head_seq: u64) -> Subscribed {
    Subscribed { id: Some(id), channel_id: channel(1), head_seq, epoch: epoch(1), replayed: 0 }
}

fn refusal(id: u64, retryable: bool) -> ErrorFrame {
    let (code, message) = ("UNAVAILABLE".to_owned(), String::new());
    ErrorFrame { id: Some(id), channel_id: None, code, message, retryable, retry_after_ms: Some(500) }
}

/// One channel, asked for with id 1.
fn asked(from: Option<Position>) -> (Subscriptions, Instant) {
    let (mut subscriptions, now) = (Subscriptions::default(), Instant::now());
    subscriptions.subscribe(channel(1), from);
    assert_eq!(subscriptions.ask(now, 16_384).len(), 1);
    (subscriptions, now)
}

fn last_frame(subscriptions: &mut Subscriptions, now: Instant) -> serde_json::Value {
    let frames = subscriptions.ask(now, 16_384);
    serde_json::from_str(frames.last().expect("something is asked for")).unwrap()
}

#[test]
fn from_now_on_begins_after_the_head() {
    let (mut subscriptions, _) = asked(None);
    assert_eq!(subscriptions.event(channel(1), 7), Verdict::Drop);
    assert_eq!(subscriptions.subscribed(&subscribed(1, 7)), Verdict::Deliver);
    assert_eq!(subscriptions.event(channel(1), 7), Verdict::Drop);
    assert_eq!(subscriptions.event(channel(1), 8), Verdict::Deliver);
}

#[test]
fn a_replay_is_delivered_before_the_confirmation() {
    let (mut subscriptions, _) = asked(at(5));
    assert_eq!(subscriptions.event(channel(1), 6), Verdict::Deliver);
    assert_eq!(subscriptions.event(channel(1), 7), Verdict::Deliver);
    assert_eq!(subscriptions.subscribed(&subscribed(1, 7)), Verdict::Deliver);
}

#[test]
fn beyond_a_hole_nothing_is_delivered_until_it_is_filled() {
    let (mut subscriptions, now) = asked(at(5));
    subscriptions.subscribed(&subscribed(1, 5));

    assert_eq!(subscriptions.event(channel(1), 7), Verdict::Hole);
    assert_eq!(subscriptions.event(channel(1), 8), Verdict::Drop);
    let frame = last_frame(&mut subscriptions, now);
    assert_eq!(frame["channels"][0]["afterSeq"], 5);
    assert_eq!(frame["channels"][0]["epoch"], epoch(1).to_string());

    let replayed: Vec<_> = (6..=9).map(|seq| subscriptions.event(channel(1), seq)).collect();
    assert_eq!(replayed, [Verdict::Deliver; 4]);
    assert_eq!(subscriptions.subscribed(&subscribed(2, 9)), Verdict::Deliver);
}

#[test]
fn a_confirmation_that_skips_events_is_a_hole() {
    let (mut subscriptions, _) = asked(at(5));
    assert_eq!(subscriptions.subscribed(&subscribed(1, 6)), Verdict::Hole);
}

#[test]
fn holes_without_end_break_the_connection() {
    let (mut subscriptions, now) = asked(at(5));
    for id in 1..=u64::from(MAX_HOLES) {
        assert_eq!(subscriptions.subscribed(&subscribed(id, 6)), Verdict::Hole);
        subscriptions.ask(now, 16_384);
    }
    assert_eq!(subscriptions.subscribed(&subscribed(u64::from(MAX_HOLES) + 1, 6)), Verdict::Broken);
}

#[test]
fn an_answer_to_an_older_request_is_dropped() {
    let (mut subscriptions, now) = asked(at(5));
    subscriptions.disconnected();
    subscriptions.ask(now, 16_384);
    assert_eq!(subscriptions.subscribed(&subscribed(1, 9)), Verdict::Drop);
    assert_eq!(subscriptions.subscribed(&subscribed(2, 5)), Verdict::Deliver);
}

#[test]
fn a_reset_moves_to_the_head_even_backwards() {
    let (mut subscriptions, now) = asked(at(5_000));
    let reset = Reset {
        channel_id: channel(1),
        reason: crate::ResetReason::EpochChanged,
        head_seq: 3,
        oldest_seq: 1,
        epoch: epoch(2),
    };
    assert!(subscriptions.reset(&reset));
    assert_eq!(subscriptions.subscribed(&Subscribed { epoch: epoch(2), ..subscribed(1, 4) }), Verdict::Deliver);
    assert_eq!(subscriptions.event(channel(1), 4), Verdict::Drop);
    assert_eq!(subscriptions.event(channel(1), 5), Verdict::Deliver);

    subscriptions.disconnected();
    let frame = last_frame(&mut subscriptions, now);
    assert_eq!(frame["channels"][0]["afterSeq"], 5);
    assert_eq!(frame["channels"][0]["epoch"], epoch(2).to_string());
}

#[test]
fn a_connection_lost_after_a_reset_resumes_from_its_head() {
    let (mut subscriptions, now) = asked(at(1));
    let reason = crate::ResetReason::TooMany;
    subscriptions.reset(&Reset { channel_id: channel(1), reason, head_seq: 9_000, oldest_seq: 1, epoch: epoch(1) });
    subscriptions.disconnected();
    assert_eq!(last_frame(&mut subscriptions, now)["channels"][0]["afterSeq"], 9_000);
}

#[test]
fn refused_for_good_is_forgotten_and_refused_for_now_is_put_off() {
    let (mut subscriptions, now) = asked(at(5));
    assert_eq!(subscriptions.refused(&refusal(9, true), now), None);
    assert_eq!(subscriptions.refused(&refusal(1, true), now), Some(vec![]));
    let due = now + Duration::from_millis(500);
    assert_eq!(subscriptions.due(now), Some(due));
    assert!(subscriptions.ask(now, 16_384).is_empty());
    assert_eq!(subscriptions.ask(due, 16_384).len(), 1);

    assert_eq!(subscriptions.refused(&refusal(2, false), due), Some(vec![channel(1)]));
    assert!(!subscriptions.remove(channel(1)));
}

#[test]
fn a_request_over_the_rate_is_repeated_although_the_error_does_not_name_it() {
    let (mut subscriptions, now) = asked(at(5));
    assert_eq!(subscriptions.refused(&ErrorFrame { id: None, ..refusal(1, false) }, now), None);
    assert_eq!(subscriptions.refused(&ErrorFrame { id: None, ..refusal(1, true) }, now), Some(vec![]));
    assert_eq!(subscriptions.ask(now + Duration::from_millis(500), 16_384).len(), 1);
}

#[test]
fn a_live_channel_can_be_reset() {
    let (mut subscriptions, _) = asked(at(5));
    subscriptions.subscribed(&subscribed(1, 5));
    let reason = crate::ResetReason::EpochChanged;
    subscriptions.reset(&Reset { channel_id: channel(1), reason, head_seq: 2, oldest_seq: 1, epoch: epoch(2) });
    assert_eq!(subscriptions.subscribed(&Subscribed { id: None, ..subscribed(1, 2) }), Verdict::Deliver);
    assert_eq!(subscriptions.event(channel(1), 3), Verdict::Deliver);
    assert_eq!(subscriptions.event(channel(1), 5), Verdict::Hole);
}

#[test]
fn requests_respect_both_bounds_of_a_frame() {
    let now = Instant::now();
    let mut subscriptions = Subscriptions::default();
    let subscribe_all = |subscriptions: &mut Subscriptions| {
        (0..600).for_each(|number| subscriptions.subscribe(channel(number), at(u64::from(number))));
    };

    subscribe_all(&mut subscriptions);
    assert_eq!(subscriptions.ask(now, 1_000_000).len(), 3);

    subscribe_all(&mut subscriptions);
    let frames = subscriptions.ask(now, 16_384);
    assert!(frames.iter().all(|frame| frame.len() <= 16_384));
    let asked = |frame: &String| {
        serde_json::from_str::<serde_json::Value>(frame).unwrap()["channels"].as_array().unwrap().len()
    };
    assert_eq!(frames.iter().map(asked).sum::<usize>(), 600);
    assert!(subscriptions.ask(now, 16_384).is_empty());
}

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

/// Runs the subscription to the end of the log; each frame on its way meets the next fault.
fn heard_with(faults: Vec<Fault>, from: u64) -> Vec<u64> {
    let (mut subscriptions, now) = (Subscriptions::default(), Instant::now());
    subscriptions.subscribe(channel(1), at(from));
    let mut faults = faults.into_iter();
    let mut heard = Vec::new();
    let mut wire = std::collections::VecDeque::new();
    loop {
        for frame in subscriptions.ask(now, 16_384) {
            let frame: serde_json::Value = serde_json::from_str(&frame).unwrap();
            let after = frame["channels"][0]["afterSeq"].as_u64().unwrap();
            wire.extend((after + 1..=HEAD).map(|seq| (None, seq)));
            wire.push_back((frame["id"].as_u64(), HEAD));
        }
        let Some((id, seq)) = wire.pop_front() else { return heard };
        let mut feed = |id: Option<u64>, seq: u64| match id {
            Some(id) => subscriptions.subscribed(&subscribed(id, seq)),
            None => {
                let verdict = subscriptions.event(channel(1), seq);
                heard.extend((verdict == Verdict::Deliver).then_some(seq));
                verdict
            }
        };
        let verdict = match faults.next().unwrap_or(Fault::None) {
            Fault::None => feed(id, seq),
            Fault::Repeat => {
                feed(id, seq);
                feed(id, seq)
            }
            // The loss of a confirmation cannot be seen by anyone; TCP does not do that.
            Fault::Lose if id.is_none() => Verdict::Drop,
            Fault::Lose => feed(id, seq),
            Fault::Swap => {
                wire.insert(wire.len().min(1), (id, seq));
                Verdict::Drop
            }
            Fault::Disconnect => Verdict::Broken,
        };
        if verdict == Verdict::Broken {
            wire.clear();
            subscriptions.disconnected();
        }
    }
}

proptest! {
    #[test]
    fn each_event_is_heard_once_and_in_order_whatever_happens(faults in faults(), from in 0..HEAD) {
        prop_assert_eq!(heard_with(faults, from), (from + 1..=HEAD).collect::<Vec<_>>());
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
                _ => if subscriptions.event(channel(1), number) == Verdict::Deliver {
                    prop_assert!(last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
                    last = Some(number);
                }
            }
        }
    }
}
