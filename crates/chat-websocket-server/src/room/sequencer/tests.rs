use super::*;
use crate::frame::TextFrame;

const LIMITS: SequencerLimits = SequencerLimits {
    reorder_window: Duration::from_millis(50),
    held_events: 4,
    held_bytes: 1_000,
    backoff: Duration::from_millis(50),
    max_backoff: Duration::from_secs(2),
};

fn event(seq: u64) -> RoomEvent {
    RoomEvent { seq, frame: TextFrame::from(&*format!("event {seq}")), effect: None, at: None, traced: None }
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
    let repair = sequencer.read_done(vec![event(2), event(3), event(4)], Some(4), late, &mut ready);
    assert_eq!(repair, Repair { events: 3, disproved: false });
    assert_eq!(seqs(&ready), [1, 2, 3, 4]);
}

#[test]
fn a_lost_last_event_is_found_by_its_head() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    sequencer.observe_head(2, now);
    assert_eq!(sequencer.read_at(), Some(now + LIMITS.reorder_window));
    assert_eq!(sequencer.begin_read(now + LIMITS.reorder_window), Some(0));
    sequencer.read_done(vec![event(1), event(2)], Some(2), now, &mut ready);
    assert_eq!((seqs(&ready), sequencer.read_at()), (vec![1, 2], None));
}

#[test]
fn a_trickle_does_not_put_off_the_read_of_what_storage_knows() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    sequencer.observe_head(100, now);
    for seq in 1..=4 {
        let later = now + LIMITS.reorder_window / 5 * u32::try_from(seq).unwrap();
        assert_eq!(sequencer.offer(event(seq), later, &mut ready), Verdict::InOrder);
    }
    assert_eq!(sequencer.begin_read(now + LIMITS.reorder_window), Some(4));
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
    sequencer.read_done(vec![event(1)], Some(1), now, &mut ready);
    assert_eq!(seqs(&ready), [1]);
}

#[test]
fn a_read_that_brings_less_than_is_known_goes_on() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    sequencer.observe_head(4, now);
    let late = now + LIMITS.reorder_window;
    sequencer.begin_read(late).unwrap();
    sequencer.read_done(vec![event(1), event(2)], None, late, &mut ready);
    assert_eq!(sequencer.begin_read(late), Some(2), "at once: the log has more");
    sequencer.read_done(Vec::new(), Some(2), late, &mut ready);
    assert_eq!(sequencer.read_at(), Some(late + LIMITS.backoff), "an empty read is not repeated at once");
}

#[test]
fn what_only_the_bus_claims_is_forgotten_when_the_log_does_not_have_it() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(5, LIMITS), Instant::now(), Vec::new());
    assert_eq!(sequencer.offer(event(u64::MAX), now, &mut ready), Verdict::HeldBack);
    let late = now + LIMITS.reorder_window;
    assert_eq!(sequencer.begin_read(late), Some(5));
    assert!(sequencer.read_done(Vec::new(), Some(5), late, &mut ready).disproved);
    assert_eq!((sequencer.read_at(), sequencer.held_bytes()), (None, 0));
    sequencer.offer(event(6), late, &mut ready);
    assert_eq!((seqs(&ready), sequencer.read_at()), (vec![6], None));
}

#[test]
fn what_is_heard_during_a_read_is_not_disproved_by_it() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    sequencer.offer(event(1_000), now, &mut ready);
    let late = now + LIMITS.reorder_window;
    sequencer.begin_read(late).unwrap();
    sequencer.offer(event(3), late, &mut ready);
    assert!(sequencer.read_done(vec![event(1)], Some(1), late, &mut ready).disproved);
    assert_eq!(sequencer.begin_read(late), Some(1), "2 and 3 may have come after the read");
    sequencer.read_done(vec![event(2), event(3)], Some(3), late, &mut ready);
    assert_eq!((seqs(&ready), sequencer.read_at()), (vec![1, 2, 3], None));
}

#[test]
fn what_storage_claims_is_waited_for() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    sequencer.observe_head(1, now);
    let late = now + LIMITS.reorder_window;
    sequencer.begin_read(late).unwrap();
    assert!(!sequencer.read_done(Vec::new(), Some(0), late, &mut ready).disproved);
    assert_eq!(sequencer.read_at(), Some(late + LIMITS.backoff));
}

#[test]
fn what_is_forgotten_to_make_room_is_read() {
    let (mut sequencer, now, mut ready) = (Sequencer::new(0, LIMITS), Instant::now(), Vec::new());
    sequencer.offer(event(2), now, &mut ready);
    sequencer.forget_held();
    assert_eq!(sequencer.held_bytes(), 0);
    sequencer.offer(event(1), now, &mut ready);
    assert_eq!(sequencer.begin_read(now + LIMITS.reorder_window), Some(1));
}

mod properties;
