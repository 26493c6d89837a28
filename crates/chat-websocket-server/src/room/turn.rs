//! Lets sessions write before their room queues more.
//!
//! A room queues faster than its sessions write. After a break of the bus it has thousands of events at once, and would close
//! healthy sessions as slow consumers. So it queues a turn, less than a quarter of an outbox, and then waits until its
//! sessions have half of theirs free again: most of them long, for then the instance is busy and not they; a few of them
//! shortly, for then these are slow. Such a one is closed after a few turns, and nobody waits for it any more.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{event::RoomEvent, subscribers::Subscribers};

/// Frames in a turn.
pub(super) const FRAMES: usize = 128;
/// Bytes in a turn, but for the last frame.
const BYTES: usize = 256 * 1024;
/// How long a room waits while more than half of its live sessions are crowded.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits for the rest.
const GRACE: Duration = Duration::from_millis(100);
/// After so long without anything to queue, the sessions had time to write: the turn begins anew.
const REST: Duration = Duration::from_millis(50);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(2);

/// What a room has queued since its sessions last had time to write.
#[derive(Debug, Default)]
pub(super) struct Turn {
    frames: usize,
    bytes: usize,
    /// When there was last something to queue.
    busy_at: Option<Instant>,
}

impl Turn {
    /// Takes note that there is something to queue again.
    pub(super) fn go_on(&mut self, now: Instant) {
        if self.busy_at.is_some_and(|busy_at| now >= busy_at + REST) {
            *self = Self::default();
        }
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
        *self = Self::default();
        let began = Instant::now();
        tokio::task::yield_now().await;
        loop {
            let (crowded, live) = to.crowded();
            if crowded == 0 || began.elapsed() >= patience(crowded, live) {
                return;
            }
            sleep(LOOK).await;
        }
    }

    const fn is_over(&self) -> bool {
        self.frames >= FRAMES || self.bytes >= BYTES
    }
}

const fn patience(crowded: usize, live: usize) -> Duration {
    if 2 * crowded > live { PATIENCE } else { GRACE }
}

#[cfg(test)]
mod tests {
    use chat_domain::UserId;
    use uuid::Uuid;

    use super::*;
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
    fn a_few_slow_ones_are_not_waited_for_long() {
        assert_eq!((patience(1, 2), patience(500, 1_000)), (GRACE, GRACE));
        assert_eq!((patience(1, 1), patience(501, 1_000)), (PATIENCE, PATIENCE));
    }
}
