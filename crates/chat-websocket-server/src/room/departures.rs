//! Who left a room lately.
//!
//! That a user may listen is read from storage before its session joins the room. If the user is removed in between, the
//! room has seen the removal and the session must not come in.

use std::collections::VecDeque;

use chat_domain::UserId;

/// Most departures that are remembered.
const REMEMBERED: usize = 256;

/// The users that left a room lately, and at which `seq`.
#[derive(Debug, Default)]
pub(super) struct Departures {
    recent: VecDeque<(u64, UserId)>,
    /// The newest departure that was forgotten.
    forgotten: u64,
}

/// May a user that was a member when the log went up to some `seq` come in?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It did not leave since.
    Member,
    /// It left since.
    Left,
    /// Too many have left since to tell.
    Unknown,
}

impl Departures {
    /// This user left.
    pub(super) fn add(&mut self, seq: u64, user_id: UserId) {
        self.recent.push_back((seq, user_id));
        if self.recent.len() > REMEMBERED
            && let Some((seq, _)) = self.recent.pop_front()
        {
            self.forgotten = seq;
        }
    }

    /// Where a user stands that was a member at `seq`.
    pub(super) fn standing(&self, user_id: UserId, seq: u64) -> Standing {
        if self.recent.iter().any(|(left_at, who)| *who == user_id && *left_at > seq) {
            return Standing::Left;
        }
        if self.forgotten > seq { Standing::Unknown } else { Standing::Member }
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::Timestamp;

    use super::*;

    #[test]
    fn only_later_departures_count() {
        let (mut departures, user) = (Departures::default(), UserId::new(Timestamp::from_millis(0)));
        assert_eq!(departures.standing(user, 0), Standing::Member);
        departures.add(5, user);
        assert_eq!(departures.standing(user, 4), Standing::Left);
        assert_eq!(departures.standing(user, 5), Standing::Member, "it came back in before it was checked");
        assert_eq!(departures.standing(UserId::new(Timestamp::from_millis(0)), 4), Standing::Member);
    }

    #[test]
    fn what_is_forgotten_is_not_taken_for_granted() {
        let (mut departures, user) = (Departures::default(), UserId::new(Timestamp::from_millis(0)));
        departures.add(1, user);
        for seq in 2..=REMEMBERED as u64 + 1 {
            departures.add(seq, UserId::new(Timestamp::from_millis(0)));
        }
        assert_eq!(departures.standing(user, 0), Standing::Unknown);
        assert_eq!(departures.standing(user, 1), Standing::Member);
    }
}
