//! The users who are here, as storage sees them.

use std::{sync::Arc, time::Duration};

use chat_domain::{UserId, UserStatus};
use chat_events::UserSignal;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Directory, UserSessions};
use crate::{protocol::CloseReason, session::SessionHandle};

impl Directory {
    /// All sessions.
    pub fn sessions(&self) -> Vec<Arc<SessionHandle>> {
        self.users.iter().flat_map(|user| user.sessions.values().cloned().collect::<Vec<_>>()).collect()
    }

    /// How many there are.
    pub fn session_count(&self) -> usize {
        self.users.iter().map(|user| user.sessions.len()).sum()
    }

    /// How many sessions a user has here.
    pub fn sessions_of(&self, user_id: UserId) -> usize {
        self.users.get(&user_id).map_or(0, |user| user.sessions.len())
    }

    /// The users with sessions whose status storage has not confirmed for `age`, or not since the bus was interrupted.
    pub fn users_due(&self, now: Instant, age: Duration) -> Vec<UserId> {
        let doubted_at = *self.doubted_at.lock();
        let due = self.users.iter().filter(|user| user.confirmation.is_due(now, age, doubted_at));
        due.map(|user| *user.key()).collect()
    }

    /// Storage was asked at this moment, and the user may be here.
    pub fn confirm_user(&self, user_id: UserId, read_at: Instant) {
        if let Some(mut user) = self.users.get_mut(&user_id) {
            user.confirmation.confirm(read_at);
        }
    }

    /// Storage was asked at this moment, and the user may not be here any more: ends its sessions as the signal does that
    /// was not heard. False if there was nothing to do: none are left, or a later read let the user in again.
    pub fn send_away(&self, user_id: UserId, status: UserStatus, read_at: Instant) -> bool {
        let Some(user) = self.users.get(&user_id) else { return false };
        let let_in_since = !user.confirmation.is_due(read_at, Duration::MAX, Some(read_at));
        if let_in_since || user.sessions.values().all(|session| session.outbox.closed().is_some()) {
            return false;
        }
        let signal = UserSignal::UserStatusChanged { user_id, status }.to_json();
        // JSON is UTF-8.
        user.tell(&Utf8Bytes::try_from(signal).unwrap_or_default(), true);
        true
    }
}

impl UserSessions {
    /// Queues a signal for all sessions, which are the last words to who is forbidden to be here.
    pub(super) fn tell(&self, signal: &Utf8Bytes, forbidden: bool) {
        for session in self.sessions.values() {
            session.outbox.push(signal.clone());
            if forbidden {
                session.outbox.close(CloseReason::Forbidden);
            }
        }
    }
}
