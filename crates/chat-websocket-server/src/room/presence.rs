//! Tells the sessions of a room that asked for it who else is here: the whole list first, then who comes and goes.
//!
//! A list is read for all who wait for one together. What is heard while it is read is told behind it.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use chat_domain::{ChannelId, UserId};
use chat_events::{
    PresenceSignal, Topic, UserPresence,
    bus::{Interest, Subscriber},
};
use tokio::time::Instant;

use super::subscribers::{Subscribers, Watch};
use crate::{
    frame::TextFrame,
    registry::{Listed, Registry},
};

/// Most users that a list names. Who wants to know all of more than that asks over HTTP who the members are.
const LISTED: usize = 500;
/// Where more sessions than this are in the room, who comes and goes is collected and told together.
const CROWD: usize = 500;
/// How long it is collected.
const COLLECT: Duration = Duration::from_secs(1);
/// How long to wait after a list could not be read.
const RETRY: Duration = Duration::from_secs(2);

type ListRead = Pin<Box<dyn Future<Output = Option<Listed>> + Send>>;

/// Who is told of whom, in one room.
pub(super) struct Presence {
    channel_id: ChannelId,
    registry: Arc<Registry>,
    subscriber: Arc<dyn Subscriber>,
    /// That the topic is heard, while somebody watches.
    interest: Option<Interest>,
    /// A read of the list that is under way.
    read: Option<ListRead>,
    /// What was heard since the read began.
    heard: BTreeMap<UserId, UserPresence>,
    /// What is collected to be told together, and when.
    collected: BTreeMap<UserId, UserPresence>,
    tell_at: Option<Instant>,
    retry_at: Option<Instant>,
}

impl Presence {
    pub(super) fn new(channel_id: ChannelId, registry: Arc<Registry>, subscriber: Arc<dyn Subscriber>) -> Self {
        let (heard, collected) = (BTreeMap::new(), BTreeMap::new());
        Self {
            channel_id,
            registry,
            subscriber,
            interest: None,
            read: None,
            heard,
            collected,
            tell_at: None,
            retry_at: None,
        }
    }

    /// When there is something to do again, if nothing comes before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        [self.tell_at, self.retry_at].into_iter().flatten().min()
    }

    /// The read that is under way.
    pub(super) fn read(&mut self) -> Option<&mut ListRead> {
        self.read.as_mut()
    }

    /// Does what it is time for: listens while somebody watches, reads the list for those who wait for it, and tells what
    /// was collected.
    pub(super) fn settle(&mut self, to: &mut Subscribers, now: Instant) {
        if to.watching() == 0 {
            (self.interest, self.read) = (None, None);
            (self.tell_at, self.retry_at) = (None, None);
            self.heard.clear();
            self.collected.clear();
            return;
        }
        if self.tell_at.is_some_and(|at| at <= now) {
            self.tell_collected(to);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        if self.read.is_none() && self.retry_at.is_none() && to.ask_for_list() {
            self.read = Some(self.read_list());
        }
    }

    fn read_list(&mut self) -> ListRead {
        let interest = self.interest.get_or_insert_with(|| self.subscriber.interest(Topic::Presence(self.channel_id)));
        let (heard, registry, channel_id) = (interest.heard(), Arc::clone(&self.registry), self.channel_id);
        Box::pin(async move {
            // First heard, then read: nobody who comes in between is missed.
            tokio::time::timeout(RETRY, heard).await.ok()?;
            registry.listed(channel_id, LISTED).await
        })
    }

    /// Gives the list to those who wait for it.
    pub(super) fn end_read(&mut self, listed: Option<Listed>, to: &mut Subscribers, now: Instant) {
        self.read = None;
        let heard = std::mem::take(&mut self.heard);
        let Some(Listed { online, users }) = listed else {
            self.retry_at = Some(now + RETRY);
            to.owe_list(|watch| watch == Watch::Asked);
            return;
        };
        let frame = self.frame(users.into_iter().map(UserPresence::online).collect(), Some(online));
        to.give_list(&frame);
        // Told behind the list, and once more to the others.
        self.collected.extend(heard);
        self.tell(to, now);
        self.settle(to, now);
    }

    /// Takes signals, and tells of them: at once, or together with others where the room is crowded.
    pub(super) fn hear(
        &mut self,
        payloads: Vec<Bytes>,
        to: &mut Subscribers,
        now: Instant,
    ) -> Result<(), serde_json::Error> {
        let mut outcome = Ok(());
        if to.watching() == 0 {
            return outcome;
        }
        for payload in payloads {
            match serde_json::from_slice::<PresenceSignal>(&payload) {
                Ok(signal) if signal.channel_id == self.channel_id => {
                    self.collected.extend(signal.users.into_iter().map(|user| (user.user_id, user)));
                }
                Ok(_) => {}
                Err(error) => outcome = Err(error),
            }
        }
        if self.read.is_some() {
            self.heard.extend(self.collected.iter().map(|(user_id, user)| (*user_id, *user)));
        }
        self.tell(to, now);
        outcome
    }

    /// Tells of what was collected, now or together with what comes soon.
    fn tell(&mut self, to: &mut Subscribers, now: Instant) {
        if self.collected.len() > LISTED {
            // So many changes are longer than the list.
            self.collected.clear();
            self.doubt(to);
        } else if to.len() <= CROWD {
            self.tell_collected(to);
        } else if !self.collected.is_empty() {
            self.tell_at.get_or_insert(now + COLLECT);
        }
    }

    /// Signals may have been lost: everybody is given the whole list anew.
    pub(super) fn doubt(&mut self, to: &mut Subscribers) {
        to.owe_list(|_| true);
    }

    fn tell_collected(&mut self, to: &Subscribers) {
        self.tell_at = None;
        let users: Vec<_> = std::mem::take(&mut self.collected).into_values().collect();
        if !users.is_empty() {
            let frame = self.frame(users, None);
            to.tell_watchers(&frame);
        }
    }

    fn frame(&self, users: Vec<UserPresence>, online: Option<u64>) -> TextFrame {
        let signal = PresenceSignal { channel_id: self.channel_id, users, online };
        // JSON is UTF-8.
        TextFrame::from_utf8(&signal.to_json()).unwrap_or_default()
    }
}
