use std::{collections::HashSet, sync::Arc};

use chat_domain::{ChannelId, Timestamp, UserId, user::is_void};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{
    outbox::Outbox,
    protocol::RequestId,
    registry::Changes,
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
    /// Since when it is here.
    pub connected_at: Timestamp,
    /// What waits to be sent.
    pub outbox: Outbox,
    /// When the token was issued that it goes by; `None` if nobody knows.
    token_issued_at: Mutex<Option<Timestamp>>,
    /// The replays that it waits for.
    pub(crate) replays: Replays,
    place: Mutex<Place>,
    /// Who is told that it changed.
    changes: Arc<Changes>,
    /// One for each answer that rooms may owe it.
    leaves: Arc<Semaphore>,
}

/// What a session is to others.
#[derive(Debug, Default)]
struct Place {
    /// The channels that it has open, or is opening.
    channels: HashSet<ChannelId>,
    stage: Stage,
    /// Redis has it among those of its user, although nothing else of it was written yet.
    admitted: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Arriving,
    Present,
    Gone,
}

/// What the registry of all instances shall have of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Nothing yet.
    Arriving,
    /// That it is here, with these channels open.
    Present(Vec<ChannelId>),
    /// Nothing any more.
    Gone,
}

impl SessionHandle {
    /// A session without channels and with a token of unknown age, which tells `changes` of itself from
    /// [`Self::register`] on.
    pub fn new(id: Uuid, user_id: UserId, connected_at: Timestamp, outbox: Outbox, changes: Arc<Changes>) -> Self {
        let leaves = Arc::new(Semaphore::new(LEAVES));
        let (token_issued_at, replays, place) = (Mutex::default(), Replays::default(), Mutex::default());
        Self { id, user_id, connected_at, outbox, token_issued_at, replays, place, changes, leaves }
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
    pub fn add_channel(self: &Arc<Self>, channel_id: ChannelId, most: usize) -> bool {
        let mut place = self.place.lock();
        if place.channels.len() >= most && !place.channels.contains(&channel_id) {
            return false;
        }
        let changed = place.channels.insert(channel_id) && place.stage == Stage::Present;
        drop(place);
        if changed {
            self.changes.mark(self);
        }
        true
    }

    /// Takes note that the channel is closed for this session.
    pub fn forget_channel(self: &Arc<Self>, channel_id: ChannelId) {
        let mut place = self.place.lock();
        let changed = place.channels.remove(&channel_id) && place.stage == Stage::Present;
        drop(place);
        if changed {
            self.changes.mark(self);
        }
    }

    /// Has it this channel open, or is it opening it?
    pub fn has_channel(&self, channel_id: ChannelId) -> bool {
        self.place.lock().channels.contains(&channel_id)
    }

    /// Takes note that its user was removed from a channel, and is not to be listed there any more.
    pub fn withdraw_from(&self, channel_id: ChannelId) {
        self.changes.withdraw(self.user_id, channel_id);
    }

    /// The session was taken in, by Redis (`admitted`) or without it: the registry shall have it.
    pub fn register(self: &Arc<Self>, admitted: bool) {
        let mut place = self.place.lock();
        place.admitted = admitted;
        if place.stage == Stage::Arriving {
            place.stage = Stage::Present;
        }
        drop(place);
        self.changes.mark(self);
    }

    /// Did Redis take it in?
    pub fn is_admitted(&self) -> bool {
        self.place.lock().admitted
    }

    /// What the registry shall have of it.
    pub fn registration(&self) -> Registration {
        let place = self.place.lock();
        match place.stage {
            Stage::Arriving => Registration::Arriving,
            Stage::Present => Registration::Present(place.channels.iter().copied().collect()),
            Stage::Gone => Registration::Gone,
        }
    }

    /// An answer that a room shall give to the session's UNSUBSCRIBE; `None` while as many as are allowed are still to be given.
    pub fn answer(self: &Arc<Self>, request_id: Option<RequestId>) -> Option<Answer> {
        let one_of = Arc::clone(&self.leaves).try_acquire_owned().ok()?;
        Some(Answer { session: Arc::clone(self), request_id, _one_of: one_of })
    }

    /// The session has ended. Returns the channels that it had open.
    pub fn end(self: &Arc<Self>) -> HashSet<ChannelId> {
        let mut place = self.place.lock();
        place.stage = Stage::Gone;
        let channels = std::mem::take(&mut place.channels);
        drop(place);
        self.changes.mark(self);
        channels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::OutboxLimits;

    const AT: Timestamp = Timestamp::from_millis(0);

    fn session(changes: &Arc<Changes>) -> Arc<SessionHandle> {
        let outbox = Outbox::new(OutboxLimits { frames: 10, bytes: 100 });
        Arc::new(SessionHandle::new(Uuid::nil(), UserId::new(AT), AT, outbox, Arc::clone(changes)))
    }

    #[test]
    fn what_rooms_owe_a_session_is_bounded() {
        let session = session(&Arc::default());
        let mut owed: Vec<_> = (0..LEAVES).map(|_| session.answer(None).unwrap()).collect();
        assert!(session.answer(None).is_none());
        owed.pop();
        assert!(session.answer(None).is_some(), "one was given");
    }

    #[test]
    fn the_registry_is_told_of_what_changes_while_the_session_is_here() {
        let changes = Arc::new(Changes::default());
        let marked = || !changes.take().sessions.is_empty();
        let (session, channel) = (session(&changes), ChannelId::new(AT));
        assert!(session.add_channel(channel, 1));
        assert_eq!((session.registration(), marked()), (Registration::Arriving, false));
        session.register(true);
        assert_eq!((session.registration(), marked()), (Registration::Present(vec![channel]), true));
        assert!(session.add_channel(channel, 1));
        assert!(!marked(), "it was open");
        session.forget_channel(channel);
        assert_eq!((session.registration(), marked()), (Registration::Present(vec![]), true));
        session.forget_channel(channel);
        assert!(!marked(), "it was closed");
        session.end();
        assert_eq!((session.registration(), marked()), (Registration::Gone, true));
        session.register(true);
        assert_eq!(session.registration(), Registration::Gone, "who has ended does not come back");
    }
}
