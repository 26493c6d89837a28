use super::*;

fn loading(from: u64, frame: &Reset) -> (Subscriptions, Instant, ResetVerdict) {
    let (mut subscriptions, now) = (Subscriptions::new(Duration::from_secs(30), true), Instant::now());
    subscriptions.subscribe(channel(1), at(from));
    subscriptions.ask(now, 16_384);
    let verdict = subscriptions.reset(frame, now);
    (subscriptions, now, verdict)
}

fn reset(reason: ResetReason, oldest_seq: u64, number: u128) -> Reset {
    Reset { channel_id: channel(1), reason, head_seq: 9_000, oldest_seq, epoch: epoch(number) }
}

#[test]
fn what_is_too_many_is_loaded_from_where_the_owner_is_and_then_asked_for() {
    let (mut subscriptions, now, verdict) = loading(5, &reset(ResetReason::TooMany, 1, 1));
    assert_eq!(verdict, ResetVerdict::Keep);
    assert_eq!(subscriptions.subscribed(&subscribed(1, 9_000)), Verdict::Drop);
    assert_eq!(subscriptions.event(channel(1), 9_001, now), Verdict::Drop);

    let load = subscriptions.next_load().unwrap();
    assert_eq!((load.channel, load.after_seq), (channel(1), 5));
    assert_eq!(subscriptions.next_load(), None);
    assert!(subscriptions.page(&load, epoch(1), 1));
    assert_eq!(subscriptions.event(channel(1), 6, now), Verdict::Deliver);
    subscriptions.page_end(&load, true, now);
    assert_eq!(subscriptions.due(now), None);

    let load = subscriptions.next_load().unwrap();
    assert_eq!(load.after_seq, 6);
    assert!(subscriptions.page(&load, epoch(1), 1));
    assert_eq!(subscriptions.event(channel(1), 7, now), Verdict::Deliver);
    subscriptions.page_end(&load, false, now);
    assert_eq!(last_frame(&mut subscriptions, now)["channels"][0]["afterSeq"], 7);
}

#[test]
fn what_is_gone_and_another_log_are_told() {
    let (.., verdict) = loading(5, &reset(ResetReason::TooOld, 100, 1));
    assert_eq!(verdict, ResetVerdict::Tell { after_seq: 99 });
    // The reason is what the server saw first; the epoch says it too.
    for reason in [ResetReason::EpochChanged, ResetReason::TooMany] {
        let (mut subscriptions, _, verdict) = loading(5, &reset(reason, 1, 2));
        assert_eq!(verdict, ResetVerdict::Tell { after_seq: 0 });
        assert_eq!(subscriptions.next_load().unwrap().after_seq, 0);
    }
}

#[test]
fn a_page_that_does_not_fit_makes_the_server_decide() {
    for (number, oldest_seq) in [(2, 1), (1, 7)] {
        let (mut subscriptions, now, _) = loading(5, &reset(ResetReason::TooMany, 1, 1));
        let load = subscriptions.next_load().unwrap();
        assert!(!subscriptions.page(&load, epoch(number), oldest_seq));
        assert_eq!(last_frame(&mut subscriptions, now)["channels"][0]["afterSeq"], 5);
    }
}

#[test]
fn a_page_that_fails_or_does_not_lead_on_is_put_off() {
    let (mut subscriptions, now, _) = loading(5, &reset(ResetReason::TooMany, 1, 1));
    let load = subscriptions.next_load().unwrap();
    subscriptions.page_end(&load, true, now);
    assert_eq!(subscriptions.due(now), Some(now + RETRY_AFTER));
    assert_eq!(subscriptions.next_load(), None);
}

#[test]
fn a_page_of_an_older_load_is_passed_over() {
    let (mut subscriptions, now, _) = loading(5, &reset(ResetReason::TooMany, 1, 1));
    let load = subscriptions.next_load().unwrap();
    subscriptions.disconnected();
    assert!(!subscriptions.page(&load, epoch(1), 1));
    subscriptions.ask(now, 16_384);
    subscriptions.reset(&reset(ResetReason::TooMany, 1, 1), now);
    assert!(!subscriptions.page(&load, epoch(1), 1));
    subscriptions.remove(channel(1));
    assert_eq!(subscriptions.next_load(), None);
}
