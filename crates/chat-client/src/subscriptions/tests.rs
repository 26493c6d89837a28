use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{ResetReason, frame::Reset};

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
    let (mut subscriptions, now) = (Subscriptions::new(Duration::from_secs(30), false), Instant::now());
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
    let (mut subscriptions, now) = asked(None);
    assert_eq!(subscriptions.event(channel(1), 7, now), Verdict::Drop);
    assert_eq!(subscriptions.subscribed(&subscribed(1, 7)), Verdict::Deliver);
    assert_eq!(subscriptions.event(channel(1), 7, now), Verdict::Drop);
    assert_eq!(subscriptions.event(channel(1), 8, now), Verdict::Deliver);
}

#[test]
fn a_replay_is_delivered_before_the_confirmation() {
    let (mut subscriptions, now) = asked(at(5));
    assert_eq!(subscriptions.event(channel(1), 6, now), Verdict::Deliver);
    assert_eq!(subscriptions.event(channel(1), 7, now), Verdict::Deliver);
    assert_eq!(subscriptions.subscribed(&subscribed(1, 7)), Verdict::Deliver);
}

#[test]
fn beyond_a_hole_nothing_is_delivered_until_it_is_filled() {
    let (mut subscriptions, now) = asked(at(5));
    subscriptions.subscribed(&subscribed(1, 5));

    assert_eq!(subscriptions.event(channel(1), 7, now), Verdict::Hole);
    assert_eq!(subscriptions.event(channel(1), 8, now), Verdict::Drop);
    let frame = last_frame(&mut subscriptions, now);
    assert_eq!(frame["channels"][0]["afterSeq"], 5);
    assert_eq!(frame["channels"][0]["epoch"], epoch(1).to_string());

    let replayed: Vec<_> = (6..=9).map(|seq| subscriptions.event(channel(1), seq, now)).collect();
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
        reason: ResetReason::EpochChanged,
        head_seq: 3,
        oldest_seq: 1,
        epoch: epoch(2),
    };
    assert_eq!(subscriptions.reset(&reset, now), ResetVerdict::Tell { after_seq: 3 });
    assert_eq!(subscriptions.subscribed(&Subscribed { epoch: epoch(2), ..subscribed(1, 4) }), Verdict::Deliver);
    assert_eq!(subscriptions.event(channel(1), 4, now), Verdict::Drop);
    assert_eq!(subscriptions.event(channel(1), 5, now), Verdict::Deliver);

    subscriptions.disconnected();
    let frame = last_frame(&mut subscriptions, now);
    assert_eq!(frame["channels"][0]["afterSeq"], 5);
    assert_eq!(frame["channels"][0]["epoch"], epoch(2).to_string());
}

#[test]
fn a_connection_lost_after_a_reset_resumes_from_its_head() {
    let (mut subscriptions, now) = asked(at(1));
    let reason = ResetReason::TooMany;
    subscriptions
        .reset(&Reset { channel_id: channel(1), reason, head_seq: 9_000, oldest_seq: 1, epoch: epoch(1) }, now);
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
    let (mut subscriptions, now) = asked(at(5));
    subscriptions.subscribed(&subscribed(1, 5));
    let reason = ResetReason::EpochChanged;
    subscriptions.reset(&Reset { channel_id: channel(1), reason, head_seq: 2, oldest_seq: 1, epoch: epoch(2) }, now);
    assert_eq!(subscriptions.subscribed(&Subscribed { id: None, ..subscribed(1, 2) }), Verdict::Deliver);
    assert_eq!(subscriptions.event(channel(1), 3, now), Verdict::Deliver);
    assert_eq!(subscriptions.event(channel(1), 5, now), Verdict::Hole);
}

#[test]
fn requests_respect_both_bounds_of_a_frame() {
    let now = Instant::now();
    let mut subscriptions = Subscriptions::new(Duration::from_secs(30), false);
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

#[test]
fn requests_to_leave_respect_the_bounds_too() {
    let channels: Vec<_> = (0..600).map(channel).collect();
    let frames = Subscriptions::new(Duration::from_secs(30), false).unsubscribe_frames(&channels, 1_000);
    assert!(frames.iter().all(|frame| frame.len() <= 1_000) && frames.len() > 20);
}

#[test]
fn an_answer_is_late_from_its_last_sign() {
    let (mut subscriptions, start) = asked(at(5));
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(subscriptions.due(start), Some(at(30)));
    assert_eq!(subscriptions.event(channel(1), 6, at(20)), Verdict::Deliver);
    assert!(!subscriptions.is_unanswered(at(49)));
    assert!(subscriptions.is_unanswered(at(50)));
    subscriptions.subscribed(&subscribed(1, 6));
    assert!(!subscriptions.is_unanswered(at(50)));
}

mod faults;
mod loading;
