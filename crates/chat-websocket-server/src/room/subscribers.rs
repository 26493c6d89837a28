//! The local sessions of a room.

use std::{collections::HashMap, sync::Arc};

use chat_domain::UserId;
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use crate::{
    frame::TextFrame,
    protocol::{CloseReason, RequestId, ServerFrame},
    reader::Log,
    session::SessionHandle,
};

/// A session that has the channel open.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// The session.
    pub(super) session: Arc<SessionHandle>,
    /// Of its SUBSCRIBE.
    pub(super) request_id: Option<RequestId>,
    /// How far it is.
    pub(super) progress: Progress,
    /// How far the log went when its user was found to be a member: departures up to there are old.
    pub(super) checked_at: u64,
    /// Events that were replayed to it.
    pub(super) replayed: u64,
    /// Whether it is told who else is here.
    pub(super) watch: Watch,
}

/// How far a subscriber is with who else is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// It did not ask.
    No,
    /// It is to be given the whole list.
    Owed,
    /// The list is being read for it.
    Asked,
    /// It has the list, and is told what changes.
    Told,
}

/// How far a subscriber is.
#[derive(Debug)]
pub(super) enum Progress {
    /// It gets what the room delivers from this `seq` on; what comes before it has.
    Live(u64),
    /// A replay sends it what it has missed.
    CatchingUp {
        /// Which replay.
        replay: u64,
        /// Ends the replay when dropped.
        _ended: DropGuard,
    },
}

impl Subscriber {
    /// Tells it that it has everything of the log up to here.
    pub(super) fn subscribed(&self, Log { channel_id, epoch }: Log, head_seq: u64) -> TextFrame {
        let (id, replayed) = (self.request_id.clone(), self.replayed);
        ServerFrame::Subscribed { id, channel_id, head_seq, epoch, replayed }.encode()
    }

    const fn is_live(&self) -> bool {
        matches!(self.progress, Progress::Live(_))
    }
}

/// Sessions whose places are not worth giving back.
const FEW: usize = 64;

/// Those who are on it are in the room.
#[derive(Debug, Default)]
pub(super) struct List(pub(super) Vec<Subscriber>);

/// The sessions of a room, for quick delivery to all and quick removal of one.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    list: List,
    places: HashMap<Uuid, usize>,
    /// How many want to know who else is here.
    watching: usize,
    /// Some of them may be owed the list.
    owing: bool,
}

impl Subscribers {
    /// Are there none?
    pub(super) fn is_empty(&self) -> bool {
        self.list.0.is_empty()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.0.len()
    }

    /// How many of them want to know who else is here.
    pub(super) const fn watching(&self) -> usize {
        self.watching
    }

    /// Takes note that the list is being read for those who are live and are to be given it. False if there are none.
    pub(super) fn ask_for_list(&mut self) -> bool {
        if !std::mem::take(&mut self.owing) {
            return false;
        }
        let mut asked = false;
        for one in self.list.0.iter_mut().filter(|one| one.watch == Watch::Owed) {
            // Who is still being caught up is asked for later.
            let live = one.is_live();
            (asked, self.owing) = (asked || live, self.owing || !live);
            if live {
                one.watch = Watch::Asked;
            }
        }
        asked
    }

    /// Gives the list to those for whom it was read.
    pub(super) fn give_list(&mut self, frame: &TextFrame) {
        for one in self.list.0.iter_mut().filter(|one| one.watch == Watch::Asked) {
            one.watch = Watch::Told;
            one.session.outbox.push(frame.clone());
        }
    }

    /// Those of the watchers of whom this is true are to be given the list anew.
    pub(super) fn owe_list(&mut self, whom: impl Fn(Watch) -> bool) {
        for one in self.list.0.iter_mut().filter(|one| one.watch != Watch::No && whom(one.watch)) {
            one.watch = Watch::Owed;
            self.owing = true;
        }
    }

    /// Tells those who have the list of a change.
    pub(super) fn tell_watchers(&self, frame: &TextFrame) {
        for one in self.list.0.iter().filter(|one| one.watch == Watch::Told) {
            one.session.outbox.push(frame.clone());
        }
    }

    /// Adds a session that is not here.
    pub(super) fn insert(&mut self, subscriber: Subscriber) {
        self.places.insert(subscriber.session.id, self.list.0.len());
        self.watching += usize::from(subscriber.watch != Watch::No);
        self.owing |= subscriber.watch == Watch::Owed;
        self.list.0.push(subscriber);
    }

    /// Takes a session out. Dropping it ends its replay.
    pub(super) fn remove(&mut self, session_id: Uuid) -> Option<Subscriber> {
        let place = self.places.remove(&session_id)?;
        let subscriber = self.list.0.swap_remove(place);
        self.watching -= usize::from(subscriber.watch != Watch::No);
        if let Some(moved) = self.list.0.get(place) {
            self.places.insert(moved.session.id, place);
        }
        self.let_go_of_memory();
        Some(subscriber)
    }

    /// After a crowd has left, the memory goes back. With room for twice as many as are left, it is seldom moved.
    fn let_go_of_memory(&mut self) {
        let count = self.list.0.len();
        if self.list.0.capacity() > FEW && count < self.list.0.capacity() / 4 {
            self.list.0.shrink_to(2 * count);
            self.places.shrink_to(2 * count);
        }
    }

    /// Takes a session out whose replay has ended, unless it is another replay by now.
    pub(super) fn take_caught_up(&mut self, session_id: Uuid, ended: u64) -> Option<Subscriber> {
        let subscriber = self.list.0.get(*self.places.get(&session_id)?)?;
        match subscriber.progress {
            Progress::CatchingUp { replay, .. } if replay == ended => self.remove(session_id),
            Progress::CatchingUp { .. } | Progress::Live(_) => None,
        }
    }

    /// The sessions of a user that left at this `seq`, but for those that came in after it was back.
    pub(super) fn of_departed(&self, user_id: UserId, left_at: u64) -> Vec<Uuid> {
        let departed = |one: &&Subscriber| one.session.user_id == user_id && one.checked_at < left_at;
        self.list.0.iter().filter(departed).map(|one| one.session.id).collect()
    }

    /// Has a user that left at this `seq` come in after it was back?
    pub(super) fn is_back(&self, user_id: UserId, left_at: u64) -> bool {
        self.list.0.iter().any(|one| one.session.user_id == user_id && one.checked_at >= left_at)
    }

    /// The sessions that get what the room delivers.
    pub(super) fn live(&self) -> impl Iterator<Item = &Subscriber> {
        self.list.0.iter().filter(|one| matches!(one.progress, Progress::Live(_)))
    }

    /// How many of the live sessions have more than half of their outbox taken, and how many live ones there are.
    pub(super) fn crowded(&self) -> (usize, usize) {
        self.live()
            .fold((0, 0), |(crowded, live), one| (crowded + usize::from(one.session.outbox.is_crowded()), live + 1))
    }

    /// Ends all sessions.
    pub(super) fn close(&mut self, reason: CloseReason) {
        self.places = HashMap::new();
        self.watching = 0;
        for subscriber in std::mem::take(&mut self.list.0) {
            subscriber.session.outbox.close(reason);
        }
    }

    /// Everybody, to be sent to.
    pub(super) const fn list(&mut self) -> &mut List {
        &mut self.list
    }

    /// How many live sessions an event goes to.
    pub(super) fn receivers(&self, seq: u64) -> usize {
        self.list.0.iter().filter(|one| matches!(one.progress, Progress::Live(from) if from <= seq)).count()
    }
}

impl Drop for List {
    /// A room ends when it has none. If it ends otherwise, its sessions must not wait for what will not come.
    fn drop(&mut self) {
        self.0.iter().for_each(|one| one.session.outbox.close(CloseReason::Internal));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use chat_domain::Timestamp;

    use super::*;
    use crate::outbox::{Outbox, OutboxLimits};

    /// A live one, whose outbox takes ten frames.
    pub(crate) fn subscriber() -> Subscriber {
        let outbox = Outbox::new(OutboxLimits { frames: 10, bytes: 100 });
        let at = Timestamp::from_millis(0);
        let session = SessionHandle::new(Uuid::now_v7(), UserId::new(at), at, outbox, Arc::default());
        let (session, progress) = (Arc::new(session), Progress::Live(1));
        Subscriber { session, request_id: None, progress, checked_at: 0, replayed: 0, watch: Watch::No }
    }

    #[test]
    fn the_memory_of_a_crowd_goes_with_it() {
        let mut subscribers = Subscribers::default();
        let ids: Vec<_> = (0..5_000)
            .map(|_| {
                let one = subscriber();
                let id = one.session.id;
                subscribers.insert(one);
                id
            })
            .collect();
        let (stay, go) = ids.split_at(10);
        assert!(go.iter().all(|id| subscribers.remove(*id).is_some()));
        assert_eq!(subscribers.len(), stay.len());
        assert!(subscribers.list.0.capacity() <= FEW, "{}", subscribers.list.0.capacity());
        assert!(subscribers.places.capacity() <= 4 * FEW, "{}", subscribers.places.capacity());
        assert!(stay.iter().all(|id| subscribers.remove(*id).is_some()));
    }
}
