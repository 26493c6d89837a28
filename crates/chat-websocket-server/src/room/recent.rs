//! The newest events of a room, kept in memory so that who comes right back is caught up without a read of the log.

use std::{collections::VecDeque, time::Duration};

use crate::frame::TextFrame;

/// The newest delivered events of one room, without a hole, within bounds: the oldest go first.
#[derive(Debug)]
pub(super) struct Recent {
    frames: VecDeque<TextFrame>,
    bytes: usize,
    /// `seq` behind the newest.
    next: u64,
    limits: RecentLimits,
}

/// The bounds of `Recent`.
#[derive(Clone, Copy, Debug)]
pub struct RecentLimits {
    /// Most events.
    pub events: usize,
    /// Most bytes.
    pub bytes: usize,
    /// How long after the newest one all are kept: who comes back does so soon.
    pub idle: Duration,
}

impl Default for RecentLimits {
    fn default() -> Self {
        Self { events: 128, bytes: 64 * 1024, idle: Duration::from_secs(30) }
    }
}

impl RecentLimits {
    const fn fit(&self, events: usize, bytes: usize) -> bool {
        events <= self.events && bytes <= self.bytes
    }
}

impl Recent {
    /// Nothing yet; the first event to come follows `head`.
    pub(super) fn new(head: u64, limits: RecentLimits) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, next: head + 1, limits }
    }

    /// Adds the event that follows the newest one.
    pub(super) fn push(&mut self, frame: TextFrame) {
        self.bytes += frame.len();
        self.next += 1;
        self.frames.push_back(frame);
        while !self.limits.fit(self.frames.len(), self.bytes) {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    /// Bytes that all of it takes.
    pub(super) fn memory(&self) -> usize {
        self.bytes + self.frames.len() * size_of::<TextFrame>()
    }

    /// Keeps none of them.
    pub(super) fn forget(&mut self) {
        (self.frames, self.bytes) = (VecDeque::new(), 0);
    }

    /// Adds events that end with `last` before the oldest one, the newest first, as far as they fit and leave no hole.
    pub(super) fn reach_back<'e>(&mut self, last: u64, events: impl DoubleEndedIterator<Item = &'e TextFrame>) {
        for (seq, frame) in (0..=last).rev().zip(events.rev()) {
            let oldest = self.next - self.frames.len() as u64;
            if seq >= oldest {
                continue;
            }
            if seq + 1 < oldest || !self.limits.fit(self.frames.len() + 1, self.bytes + frame.len()) {
                return;
            }
            self.bytes += frame.len();
            self.frames.push_front(frame.clone());
        }
    }

    /// The events after `seq` up to the newest, or `None` if some of them are not here.
    pub(super) fn after(&self, seq: u64) -> Option<impl Iterator<Item = &TextFrame> + Clone> {
        let missing = usize::try_from(self.next.checked_sub(seq + 1)?).ok()?;
        let skipped = self.frames.len().checked_sub(missing)?;
        Some(self.frames.range(skipped..))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;

    fn recent(limits: RecentLimits, head: u64, count: u64) -> Recent {
        let mut recent = Recent::new(head, limits);
        frames(head + 1..=head + count).into_iter().for_each(|frame| recent.push(frame));
        recent
    }

    fn limits(events: usize, bytes: usize) -> RecentLimits {
        RecentLimits { events, bytes, ..RecentLimits::default() }
    }

    fn frames(seqs: RangeInclusive<u64>) -> Vec<TextFrame> {
        seqs.map(|seq| TextFrame::from(&*seq.to_string())).collect()
    }

    fn after(recent: &Recent, seq: u64) -> Option<Vec<u64>> {
        recent.after(seq).map(|frames| frames.map(|frame| frame.text().parse().unwrap()).collect())
    }

    #[test]
    fn gives_what_comes_after() {
        let recent = recent(RecentLimits::default(), 10, 3);
        assert_eq!(after(&recent, 10), Some(vec![11, 12, 13]));
        assert_eq!(after(&recent, 12), Some(vec![13]));
        assert_eq!(after(&recent, 13), Some(vec![]));
    }

    #[test]
    fn says_when_some_are_not_here() {
        let recent = recent(RecentLimits::default(), 10, 3);
        assert_eq!(after(&recent, 9), None);
        assert_eq!(after(&recent, 14), None, "the room is behind");
    }

    #[test]
    fn reaches_back_to_what_was_read_from_the_log() {
        let mut all = recent(RecentLimits::default(), 10, 3);
        all.reach_back(9, frames(3..=9).iter());
        assert_eq!(after(&all, 8), None, "there would be a hole");
        all.reach_back(12, frames(8..=12).iter());
        assert_eq!((after(&all, 7), after(&all, 6)), (Some((8..=13).collect()), None));
        all.reach_back(7, frames(7..=7).iter());
        assert_eq!(after(&all, 6), Some((7..=13).collect()));

        let mut few = recent(limits(5, 10_000), 10, 3);
        few.reach_back(10, frames(1..=10).iter());
        assert_eq!((after(&few, 8), after(&few, 7)), (Some((9..=13).collect()), None));
        let of_four = few.bytes - frames(9..=9)[0].len();
        let mut small = recent(limits(100, of_four), 10, 3);
        small.reach_back(10, frames(1..=10).iter());
        assert_eq!((after(&small, 9), after(&small, 8)), (Some((10..=13).collect()), None));
        let mut none = recent(RecentLimits::default(), 0, 0);
        none.reach_back(0, [].iter());
        assert_eq!(after(&none, 0), Some(vec![]));
    }

    #[test]
    fn what_is_forgotten_takes_no_memory_and_leaves_no_hole() {
        let mut recent = recent(RecentLimits::default(), 10, 3);
        assert!(recent.memory() > 0);
        recent.forget();
        assert_eq!((recent.memory(), recent.frames.capacity()), (0, 0));
        assert_eq!((after(&recent, 12), after(&recent, 13)), (None, Some(vec![])));
        recent.push("14".into());
        assert_eq!(after(&recent, 13), Some(vec![14]));
    }

    #[test]
    fn is_bounded_by_number_and_by_size() {
        let few = recent(limits(2, 1_000), 0, 5);
        assert_eq!((after(&few, 2), after(&few, 3)), (None, Some(vec![4, 5])));
        let small = recent(limits(100, 9), 0, 5);
        assert_eq!((after(&small, 1), after(&small, 2)), (None, Some(vec![3, 4, 5])));
    }

    #[test]
    fn one_that_is_too_large_leaves_nothing() {
        let mut recent = Recent::new(0, limits(5, 3));
        recent.push("12345".into());
        assert_eq!(after(&recent, 0), None);
        assert_eq!(after(&recent, 1), Some(vec![]));
    }
}
