//! The users who are here, as storage sees them.

use std::{sync::Arc, time::Duration};

use chat_domain::{ChannelId, Timestamp, UserId, UserStatus};
use chat_events::UserSignal;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Directory, UserSessions};
use crate::{frame::TextFrame, protocol::CloseReason, session::SessionHandle};

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

    /// Has this user this session here?
    pub fn has_session(&self, user_id: UserId, session_id: Uuid) -> bool {
        self.users.get(&user_id).is_some_and(|user| user.sessions.contains_key(&session_id))
    }

    /// The users with sessions whose status storage has not confirmed for `age`, or not since the bus was interrupted.
    pub fn users_due(&self, now: Instant, age: Duration) -> Vec<UserId> {
        let doubted_at = *self.doubted_at.lock();
        let due = self.users.iter().filter(|user| user.confirmation.is_due(now, age, doubted_at));
        due.map(|user| *user.key()).collect()
    }

    /// Storage was asked at this moment, and the user may be here with tokens that are valid: ends its sessions with void
    /// ones as the signal does that was not heard. False if there were none.
    pub fn confirm_user(&self, user_id: UserId, tokens_valid_from: Option<Timestamp>, read_at: Instant) -> bool {
        let Some(mut user) = self.users.get_mut(&user_id) else { return false };
        user.confirmation.confirm(read_at);
        // No later read makes a void token good: unlike a status, this needs no look at when it was read.
        tokens_valid_from.is_some_and(|before| user.end_sessions(&UserSignal::TokensRevoked { user_id, before }))
    }

    /// Storage was asked at this moment, and the user may not be here any more: ends its sessions as the signal does that
    /// was not heard. False if there was nothing to do: none are left, or a later read let the user in again.
    pub fn send_away(&self, user_id: UserId, status: UserStatus, read_at: Instant) -> bool {
        let Some(user) = self.users.get(&user_id) else { return false };
        let let_in_since = !user.confirmation.is_due(read_at, Duration::MAX, Some(read_at));
        !let_in_since && user.end_sessions(&UserSignal::UserStatusChanged { user_id, status })
    }
}

impl UserSessions {
    /// Takes note that the user was removed from a channel, where none of its sessions has it open again.
    pub(super) fn withdraw(&self, channel_id: ChannelId) {
        if self.sessions.values().all(|session| !session.has_channel(channel_id))
            && let Some(session) = self.sessions.values().next()
        {
            session.withdraw_from(channel_id);
        }
    }

    /// Queues a signal for all sessions, which are the last words to those that it ends.
    pub(super) fn tell(&self, signal: &UserSignal, frame: &TextFrame) {
        for session in self.sessions.values() {
            session.outbox.push(frame.clone());
            if let Some(reason) = ending(signal, session) {
                session.outbox.close(reason);
            }
        }
    }

    /// The same for a signal that was lost, and only for the sessions that it ends. False if they have all ended before.
    fn end_sessions(&self, signal: &UserSignal) -> bool {
        let open = self.sessions.values().filter(|session| session.outbox.closed().is_none());
        let ended: Vec<(&Arc<SessionHandle>, _)> =
            open.filter_map(|session| Some((session, ending(signal, session)?))).collect();
        if ended.is_empty() {
            return false;
        }
        // JSON is UTF-8.
        let frame = TextFrame::from_utf8(&signal.to_json()).unwrap_or_default();
        for (session, reason) in ended {
            session.outbox.push(frame.clone());
            session.outbox.close(reason);
        }
        true
    }
}

/// Why a signal ends a session, if it does.
fn ending(signal: &UserSignal, session: &SessionHandle) -> Option<CloseReason> {
    match signal {
        UserSignal::UserStatusChanged { status, .. } if !status.may_read() => Some(CloseReason::Forbidden),
        UserSignal::TokensRevoked { before, .. } if session.has_void_token(Some(*before)) => {
            Some(CloseReason::TokenInvalid)
        }
        _ => None,
    }
}
