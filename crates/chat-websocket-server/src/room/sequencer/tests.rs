use proptest::prelude::*;

use super::*;

const LIMITS: SequencerLimits = SequencerLimits {
    reorder_window: Duration::from_millis(50),
    held_events: 4,
    held_bytes: 1_000,
    backoff: Duration::from_millis(50),
    max_backoff: Duration::from_secs(2),
};

fn event(seq: u64) -> RoomEvent {
    RoomEvent { seq, frame: format!("event {seq}").into(), effect: None }
}

fn seqs(events: &[RoomEvent]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

#[test]
fn events_in_order_are_delivered_at_once() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    for seq in 1..=3 {
        assert_eq!(sequencer.offer(event(seq), now, &mut ready), Verdict::InOrder);
    }
    assert_eq!(seqs(&ready), [1, 2, 3]);
    assert_eq!(sequencer.read_at(), None);
}

#[test]
fn what_was_delivered_is_a_duplicate() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(5, LIMITS), Instant::now(), Vec::new());
    assert_eq!(sequencer.offer(event(5), now, &mut ready), Verdict::Duplicate);
    assert_eq!(sequencer.offer(event(7), now, &mut ready), Verdict::HeldBack);
    assert_eq!(sequencer.offer(event(7), now, &mut ready), Verdict::Duplicate);
    assert!(ready.is_empty());
}

#[test]
fn a_swapped_pair_needs_no_log() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    sequencer.offer(event(2), now, &mut ready);
    assert_eq!(sequencer.begin_read(now + LIMITS.reorder_window / 2), None, "the window is open");
    sequencer.offer(event(1), now, &mut ready);
    assert_eq!(seqs(&ready), [1, 2]);
    assert_eq!(sequencer.read_at(), None);
}

#[test]
fn a_hole_is_read_from_the_log_after_the_window() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    sequencer.offer(event(1), now, &mut ready);
    sequencer.offer(event(4), now, &mut ready);
    let late = now + LIMITS.reorder_window;
    assert_eq!(sequencer.begin_read(late), Some(1));
    assert_eq!(sequencer.begin_read(late), None, "one read at a time");
    assert_eq!(sequencer.read_done(vec![event(2), event(3), event(4)], late, &mut ready), 3);
    assert_eq!(seqs(&ready), [1, 2, 3, 4]);
}

#[test]
fn a_lost_last_event_is_found_by_its_head() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    sequencer.observe_head(2, now);
    assert_eq!(sequencer.read_at(), Some(now + LIMITS.reorder_window));
    assert_eq!(sequencer.begin_read(now + LIMITS.reorder_window), Some(0));
    sequencer.read_done(vec![event(1), event(2)], now, &mut ready);
    assert_eq!((seqs(&ready), sequencer.read_at()), (vec![1, 2], None));
}

#[test]
fn what_does_not_fit_is_read_from_the_log() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    for seq in 2..=5 {
        assert_eq!(sequencer.offer(event(seq), now, &mut ready), Verdict::HeldBack);
    }
    assert_eq!(sequencer.offer(event(6), now, &mut ready), Verdict::Forgotten);
    sequencer.offer(event(1), now, &mut ready);
    assert_eq!(seqs(&ready), [1, 2, 3, 4, 5]);
    assert_eq!(sequencer.begin_read(now + LIMITS.reorder_window), Some(5), "6 is known to exist");
}

#[test]
fn failed_reads_back_off_and_skip_nothing() {
    let (mut sequencer, mut now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    sequencer.observe_head(1, now);
    let mut waits = Vec::new();
    for _ in 0..8 {
        now = sequencer.read_at().unwrap();
        sequencer.begin_read(now).unwrap();
        sequencer.read_failed(now);
        waits.push(sequencer.read_at().unwrap() - now);
    }
    assert_eq!(waits[..3], [50, 100, 200].map(Duration::from_millis));
    assert_eq!(waits[7], LIMITS.max_backoff);
    now = sequencer.read_at().unwrap();
    sequencer.begin_read(now).unwrap();
    sequencer.read_done(vec![event(1)], now, &mut ready);
    assert_eq!(seqs(&ready), [1]);
}

#[test]
fn a_read_that_brings_less_than_is_known_goes_on() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    sequencer.observe_head(4, now);
    let late = now + LIMITS.reorder_window;
    sequencer.begin_read(late).unwrap();
    sequencer.read_done(vec![event(1), event(2)], late, &mut ready);
    assert_eq!(sequencer.begin_read(late), Some(2), "at once: the log has more");
    sequencer.read_done(Vec::new(), late, &mut ready);
    assert_eq!(sequencer.read_at(), Some(late + LIMITS.backoff), "an empty read is not repeated at once");
}

/// What may happen to a published event on its way, and to a read of the log.
#[derive(Clone, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// Comes after this many others.
    Late(u8),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        2 => (1..20u8).prop_map(Fate::Late),
    ]
}

proptest! {
    /// Events are permuted, dropped, repeated and delayed, reads fail or bring a part: each event is delivered exactly
    /// once, in order, and the memory for held ones stays bounded.
    #[test]
    fn exactly_once_in_order(
        fates in prop::collection::vec(fate(), 1..80),
        reads in prop::collection::vec(prop::option::of(1..10usize), 1..30),
        step_ms in 1..80u64,
    ) {
        let head = fates.len() as u64;
        let mut arrivals: Vec<(usize, u64)> = Vec::new();
        for (at, fate) in fates.iter().enumerate() {
            let seq = at as u64 + 1;
            match fate {
                Fate::Arrives => arrivals.push((at, seq)),
                Fate::Lost => {}
                Fate::Twice => arrivals.extend([(at, seq), (at + 3, seq)]),
                Fate::Late(by) => arrivals.push((at + usize::from(*by), seq)),
            }
        }
        arrivals.sort();

        let (mut sequencer, mut now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
        let mut reads = reads.into_iter();
        let mut read_if_due = |sequencer: &mut Sequencer, now: Instant, ready: &mut Vec<RoomEvent>| {
            let Some(after) = sequencer.begin_read(now) else { return };
            match reads.next() {
                Some(None) => sequencer.read_failed(now),
                Some(Some(limit)) => { sequencer.read_done((after + 1..=head).take(limit).map(event).collect(), now, ready); }
                None => { sequencer.read_done((after + 1..=head).map(event).collect(), now, ready); }
            }
        };
        for (_, seq) in arrivals {
            sequencer.offer(event(seq), now, &mut ready);
            prop_assert!(sequencer.held.len() <= LIMITS.held_events);
            now += Duration::from_millis(step_ms);
            read_if_due(&mut sequencer, now, &mut ready);
        }
        sequencer.observe_head(head, now);
        while let Some(at) = sequencer.read_at() {
            now = now.max(at);
            read_if_due(&mut sequencer, now, &mut ready);
        }
        prop_assert_eq!(seqs(&ready), (1..=head).collect::<Vec<_>>());
        prop_assert_eq!(sequencer.held_bytes, 0);
    }
}
