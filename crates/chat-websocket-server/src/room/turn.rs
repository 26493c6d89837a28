//! Lets sessions write before their room queues more.
//!
//! A room queues faster than its sessions write. After a break of the bus it has thousands of events at once, and would close
//! healthy sessions as slow consumers. So it queues a turn, less than a quarter of an outbox, and then waits until its
//! sessions have half of theirs free again: most of them long, for then the instance is busy and not they; a few of them
//! shortly, and not again and again, for then these are slow. The time that the turn itself took is part of it: where events
//! come one by one, sessions have their time meanwhile, and one that is slow does not hold up the others.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{event::RoomEvent, subscribers::Subscribers};

/// Frames in a turn.
pub(super) const FRAMES: usize = 128;
/// Bytes in a turn, but for the last frame.
const BYTES: usize = 256 * 1024;
/// How long after the beginning of its turn a room waits while more than half of its live sessions are crowded.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long for fewer.
const GRACE: Duration = Duration::from_millis(100);
/// After so long in all it does not wait for fewer any more, until none is crowded.
const ALL_GRACE: Duration = Duration::from_secs(1);
/// After so long without anything to queue, the sessions had time to write: the turn begins anew.
const REST: Duration = Duration::from_millis(50);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(2);

/// What a room has queued since its sessions last had time to write.
#[derive(Debug, Default)]
pub(super) struct Turn {
    frames: usize,
    bytes: usize,
    /// When there was first something to queue.
    began_at: Option<Instant>,
    /// When there was last something to queue.
    busy_at: Option<Instant>,
    /// How long it has waited for a few since none was crowded.
    waited: Duration,
}

impl Turn {
    /// Takes note that there is something to queue again.
    pub(super) fn go_on(&mut self, now: Instant) {
        if self.busy_at.is_some_and(|busy_at| now >= busy_at + REST) {
            self.begin_anew(now);
        }
        self.began_at.get_or_insert(now);
        self.busy_at = Some(now);
    }

    /// Cuts off the first events: those that fit into the turn, and none behind one that has an effect.
    pub(super) fn cut<'a>(&mut self, events: &'a [RoomEvent]) -> (&'a [RoomEvent], &'a [RoomEvent]) {
        let mut count = 0;
        for event in events {
            count += 1;
            self.add(event.frame.len());
            if event.effect.is_some() || self.is_over() {
                break;
            }
        }
        events.split_at(count)
    }

    /// Counts a frame.
    pub(super) const fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes;
    }

    /// If the turn is over, gives the sessions theirs and begins another.
    pub(super) async fn give_way(&mut self, to: &Subscribers) {
        if !self.is_over() {
            return;
        }
        tokio::task::yield_now().await;
        let over_at = Instant::now();
        let (began_at, mut few_since) = (self.began_at.unwrap_or(over_at), over_at);
        loop {
            let ((crowded, live), now) = (to.crowded(), Instant::now());
            if are_most(crowded, live) {
                few_since = now;
            }
            let waited = self.waited + (now - few_since);
            if !waits((crowded, live), now - began_at, waited) {
                self.waited = if crowded == 0 { Duration::ZERO } else { waited };
                return self.begin_anew(now);
            }
            sleep(LOOK).await;
        }
    }

    const fn is_over(&self) -> bool {
        self.frames >= FRAMES || self.bytes >= BYTES
    }

    fn begin_anew(&mut self, now: Instant) {
        (self.frames, self.bytes, self.began_at) = (0, 0, Some(now));
    }
}

const fn are_most(crowded: usize, live: usize) -> bool {
    2 * crowded > live
}

/// Whether a room waits on for those who are crowded of those who are live: so long after its turn began, and having waited
/// so long for a few since none was.
fn waits((crowded, live): (usize, usize), since: Duration, waited: Duration) -> bool {
    match crowded {
        0 => false,
        most if are_most(most, live) => since < PATIENCE,
        _ => since < GRACE && waited < ALL_GRACE,
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::UserId;
    use uuid::Uuid;

    use super::{super::subscribers::tests::subscriber, *};
    use crate::{frame::TextFrame, room::event::Effect};

    fn event(seq: u64, bytes: usize, effect: Option<Effect>) -> RoomEvent {
        RoomEvent { seq, frame: TextFrame::from(&*"x".repeat(bytes)), effect, at: None, traced: None }
    }

    #[test]
    fn a_turn_is_bounded_by_number_and_by_size() {
        let events: Vec<_> = (1..=300).map(|seq| event(seq, 10, None)).collect();
        let mut turn = Turn::default();
        let (first, rest) = turn.cut(&events);
        assert_eq!((first.len(), rest.len(), turn.is_over()), (FRAMES, 300 - FRAMES, true));
        let large: Vec<_> = (1..=10).map(|seq| event(seq, BYTES / 4, None)).collect();
        assert_eq!(Turn::default().cut(&large).0.len(), 4);
    }

    #[test]
    fn an_effect_cuts_but_does_not_end_the_turn() {
        let left = Effect::Left(UserId::from(Uuid::nil()));
        let events = [event(1, 10, None), event(2, 10, Some(left)), event(3, 10, None)];
        let mut turn = Turn::default();
        let (first, rest) = turn.cut(&events);
        assert_eq!((first.len(), turn.is_over()), (2, false));
        assert_eq!(turn.cut(rest).0.len(), 1);
    }

    #[test]
    fn who_had_time_to_write_is_not_waited_for() {
        let (mut turn, mut now) = (Turn::default(), Instant::now());
        let mut queue_half_a_turn = |now| {
            turn.go_on(now);
            (0..FRAMES / 2).for_each(|_| turn.add(1));
            turn.is_over()
        };
        assert!(!queue_half_a_turn(now));
        now += REST;
        assert!(!queue_half_a_turn(now), "the first half is long written");
        now += REST / 2;
        assert!(queue_half_a_turn(now));
    }

    #[test]
    fn a_few_slow_ones_are_not_waited_for_long_or_often() {
        let waits = |crowded, live, since| waits((crowded, live), since, Duration::ZERO);
        assert!(waits(1, 2, GRACE / 2) && waits(500, 1_000, GRACE / 2));
        assert!(!waits(1, 2, GRACE) && !waits(500, 1_000, GRACE));
        assert!(waits(1, 1, PATIENCE / 2) && waits(501, 1_000, PATIENCE / 2));
        assert!(!waits(1, 1, PATIENCE) && !waits(0, 1, Duration::ZERO));
        assert!(!super::waits((1, 2), Duration::ZERO, ALL_GRACE));
        assert!(super::waits((2, 2), Duration::ZERO, ALL_GRACE), "then it is the instance that is slow");
    }

    /// A room with so many sessions that take nothing, and others.
    fn with_slow_ones(slow: usize, others: usize) -> Subscribers {
        let mut subscribers = Subscribers::default();
        for number in 0..slow + others {
            let frames = if number < slow { 6 } else { 0 };
            let one = subscriber();
            (0..frames).for_each(|_| one.session.outbox.push(TextFrame::default()));
            subscribers.insert(one);
        }
        subscribers
    }

    async fn queue_a_turn(turn: &mut Turn, to: &Subscribers, takes: Duration) -> Duration {
        turn.go_on(Instant::now());
        for _ in 0..FRAMES {
            sleep(takes / 128).await;
            turn.go_on(Instant::now());
            turn.add(1);
        }
        let began = Instant::now();
        turn.give_way(to).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stays_slow_holds_up_the_others_for_a_second_in_all() {
        // That the instance was slow before is not the fault of those who are left.
        let (all, subscribers, mut turn) = (with_slow_ones(3, 0), with_slow_ones(1, 2), Turn::default());
        for _ in 0..3 {
            assert!(queue_a_turn(&mut turn, &all, Duration::ZERO).await >= PATIENCE);
        }
        let mut waited = Duration::ZERO;
        for _ in 0..100 {
            waited += queue_a_turn(&mut turn, &subscribers, Duration::ZERO).await;
        }
        assert!(waited >= ALL_GRACE && waited <= ALL_GRACE + 10 * LOOK, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_events_come_one_by_one_nobody_is_waited_for() {
        let (subscribers, mut turn) = (with_slow_ones(1, 2), Turn::default());
        for _ in 0..10 {
            let waited = queue_a_turn(&mut turn, &subscribers, Duration::from_millis(640)).await;
            assert_eq!(waited, Duration::ZERO);
        }
    }

    #[test]
    fn a_turn_is_as_old_as_what_it_began_with() {
        let (mut turn, began) = (Turn::default(), Instant::now());
        turn.go_on(began);
        turn.go_on(began + REST / 2);
        assert_eq!(turn.began_at, Some(began));
        turn.go_on(began + REST * 2);
        assert_eq!(turn.began_at, Some(began + REST * 2));
    }
}
