use std::{collections::HashSet, sync::Arc};

use chat_domain::{ChannelId, Timestamp, UserId, user::is_void};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{
    outbox::Outbox,
    protocol::RequestId,
    room::{Replays, control::Answer},
};

/// Most UNSUBSCRIBE frames of a session that rooms have not answered: more than it has channels, by default. Rooms take them in
/// however busy they are, so this is what bounds them.
const LEAVES: usize = 512;

/// What others see of a session: rooms push into its outbox, and take channels away from it.
#[derive(Debug)]
pub struct SessionHandle {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: UserId,
    /// What waits to be sent.
    pub outbox: Outbox,
    /// When the token was issued that it goes by; `None` if nobody knows.
    token_issued_at: Mutex<Option<Timestamp>>,
    /// The replays that it waits for.
    pub(crate) replays: Replays,
    /// The channels that it has open, or is opening.
    channels: Mutex<HashSet<ChannelId>>,
    /// One for each answer that rooms may owe it.
    leaves: Arc<Semaphore>,
}

impl SessionHandle {
    /// A session without channels, and with a token of unknown age.
    pub fn new(id: Uuid, user_id: UserId, outbox: Outbox) -> Self {
        let leaves = Arc::new(Semaphore::new(LEAVES));
        let (token_issued_at, channels) = (Mutex::default(), Mutex::default());
        Self { id, user_id, outbox, token_issued_at, replays: Replays::default(), channels, leaves }
    }

    /// Takes note of the token that the session goes by from now on.
    pub fn set_token_issued_at(&self, issued_at: Option<Timestamp>) {
        *self.token_issued_at.lock() = issued_at;
    }

    /// Does it go by a token that is void?
    pub fn has_void_token(&self, tokens_valid_from: Option<Timestamp>) -> bool {
        is_void(*self.token_issued_at.lock(), tokens_valid_from)
    }

    /// Takes note that the session opens a channel. False if it may not have another one.
    pub fn add_channel(&self, channel_id: ChannelId, most: usize) -> bool {
        let mut channels = self.channels.lock();
        if channels.len() >= most && !channels.contains(&channel_id) {
            return false;
        }
        channels.insert(channel_id);
        true
    }

    /// Takes note that the channel is closed for this session.
    pub fn forget_channel(&self, channel_id: ChannelId) {
        self.channels.lock().remove(&channel_id);
    }

    /// An answer that a room shall give to the session's UNSUBSCRIBE; `None` while as many as are allowed are still to be given.
    pub fn answer(self: &Arc<Self>, request_id: Option<RequestId>) -> Option<Answer> {
        let one_of = Arc::clone(&self.leaves).try_acquire_owned().ok()?;
        Some(Answer { session: Arc::clone(self), request_id, _one_of: one_of })
    }

    /// Takes all channels away.
    pub fn take_channels(&self) -> HashSet<ChannelId> {
        std::mem::take(&mut self.channels.lock())
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::Timestamp;

    use super::*;
    use crate::outbox::OutboxLimits;

    #[test]
    fn what_rooms_owe_a_session_is_bounded() {
        let outbox = Outbox::new(OutboxLimits { frames: 10, bytes: 100 });
        let session = Arc::new(SessionHandle::new(Uuid::nil(), UserId::new(Timestamp::from_millis(0)), outbox));
        let mut owed: Vec<_> = (0..LEAVES).map(|_| session.answer(None).unwrap()).collect();
        assert!(session.answer(None).is_none());
        owed.pop();
        assert!(session.answer(None).is_some(), "one was given");
    }
}
