//! Since when a room is known to have heard of everything.

use std::time::Duration;

use tokio::time::Instant;

/// When a room's head was last confirmed by storage, and when that was last put in doubt.
///
/// Confirmed at a moment: the room has, or has been told of, everything that storage had then. A confirmation carries the
/// moment at which the read began, so that a read that was under way when a payload was lost confirms nothing about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirmation {
    confirmed_at: Option<Instant>,
    doubted_at: Option<Instant>,
    absences: u32,
}

impl Confirmation {
    /// Storage was read, beginning at this moment, and the room knows all that it said.
    pub fn confirm(&mut self, read_at: Instant) {
        self.confirmed_at = self.confirmed_at.max(Some(read_at));
        self.absences = 0;
    }

    /// Storage was read and has no such log. How often it has said so in a row.
    pub const fn absent(&mut self) -> u32 {
        self.absences = self.absences.saturating_add(1);
        self.absences
    }

    /// At this moment something for the room may have been lost.
    pub fn doubt(&mut self, now: Instant) {
        self.doubted_at = self.doubted_at.max(Some(now));
    }

    /// How long ago that was, if it ever was.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.confirmed_at?))
    }

    /// Is the room to be compared with storage: in doubt, by itself or because all are since `all_doubted_at`, or not
    /// confirmed for `age`?
    pub fn is_due(&self, now: Instant, age: Duration, all_doubted_at: Option<Instant>) -> bool {
        let Some(confirmed_at) = self.confirmed_at else { return true };
        let doubted_at = self.doubted_at.max(all_doubted_at);
        doubted_at.is_some_and(|at| confirmed_at <= at) || now.duration_since(confirmed_at) >= age
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_millis(1_200);
    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn who_was_never_confirmed_is_due() {
        assert!(Confirmation::default().is_due(Instant::now(), AGE, None));
    }

    #[test]
    fn a_confirmation_holds_until_it_is_old() {
        let (mut room, now) = (Confirmation::default(), Instant::now());
        room.confirm(now);
        assert!(!room.is_due(now + AGE - MOMENT, AGE, None));
        assert!(room.is_due(now + AGE, AGE, None));
        assert_eq!(room.age(now + AGE), Some(AGE));
        room.confirm(now + AGE);
        room.confirm(now + MOMENT);
        assert!(!room.is_due(now + AGE + MOMENT, AGE, None), "an older one takes nothing back");
    }

    #[test]
    fn doubt_stays_until_a_read_that_began_after_it() {
        let (mut room, now) = (Confirmation::default(), Instant::now());
        room.confirm(now);
        room.doubt(now + 2 * MOMENT);
        room.confirm(now + MOMENT);
        assert!(room.is_due(now + 3 * MOMENT, AGE, None), "that read had begun before");
        room.confirm(now + 3 * MOMENT);
        assert!(!room.is_due(now + 4 * MOMENT, AGE, None));
    }

    #[test]
    fn only_absences_in_a_row_count() {
        let mut room = Confirmation::default();
        assert_eq!((room.absent(), room.absent()), (1, 2));
        room.confirm(Instant::now());
        assert_eq!(room.absent(), 1);
    }

    #[test]
    fn a_doubt_about_all_rooms_counts_for_each() {
        let (mut room, now) = (Confirmation::default(), Instant::now());
        room.confirm(now + MOMENT);
        assert!(!room.is_due(now + 2 * MOMENT, AGE, Some(now)));
        assert!(room.is_due(now + 2 * MOMENT, AGE, Some(now + MOMENT)));
    }
}
