//! Who left a room lately.
//!
//! That a user may listen is read from storage before its session joins the room. If the user is removed in between, the
//! room has seen the removal and the session must not come in.

use std::collections::VecDeque;

use chat_domain::UserId;

/// Most departures that are remembered.
const REMEMBERED: usize = 256;

/// The users that left a room lately, and at which `seq`.
#[derive(Debug)]
pub(super) struct Departures {
    recent: VecDeque<(u64, UserId)>,
    /// Up to here departures are not known.
    unknown_until: u64,
}

impl Departures {
    /// For a room that sees every event after `seq`.
    pub(super) const fn since(seq: u64) -> Self {
        Self { recent: VecDeque::new(), unknown_until: seq }
    }

    /// This user left.
    pub(super) fn add(&mut self, seq: u64, user_id: UserId) {
        self.recent.push_back((seq, user_id));
        if self.recent.len() > REMEMBERED
            && let Some((seq, _)) = self.recent.pop_front()
        {
            self.unknown_until = seq;
        }
    }

    /// Is it possible that a user has left since it was found to be a member, when the log went up to `seq`?
    pub(super) fn may_have_left(&self, user_id: UserId, seq: u64) -> bool {
        self.unknown_until > seq || self.recent.iter().any(|(left_at, who)| *who == user_id && *left_at > seq)
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::Timestamp;

    use super::*;

    fn user() -> UserId {
        UserId::new(Timestamp::from_millis(0))
    }

    #[test]
    fn only_later_departures_count() {
        let (mut departures, user, other) = (Departures::since(3), user(), user());
        assert!(!departures.may_have_left(user, 3));
        departures.add(5, user);
        assert!(departures.may_have_left(user, 4));
        assert!(!departures.may_have_left(user, 5), "it came back in before it was checked");
        assert!(!departures.may_have_left(other, 4));
    }

    #[test]
    fn what_the_room_has_not_seen_is_not_taken_for_granted() {
        let departures = Departures::since(61);
        assert!(departures.may_have_left(user(), 60), "61 may have been the departure");
        assert!(!departures.may_have_left(user(), 61));
    }

    #[test]
    fn what_is_forgotten_is_not_taken_for_granted() {
        let (mut departures, user_id) = (Departures::since(0), user());
        departures.add(1, user_id);
        for seq in 2..=REMEMBERED as u64 + 1 {
            departures.add(seq, user());
        }
        assert!(departures.may_have_left(user_id, 0));
        assert!(!departures.may_have_left(user_id, 1));
    }
}
