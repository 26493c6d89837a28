//! Which topics somebody has an interest in, which of them the bus hears, and which linger after the last interest went.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::Topic;

/// Somebody's interest in a topic. Dropping it ends the interest; the topic stays subscribed for a linger, so that who
/// comes right back finds it still heard.
#[derive(Debug)]
pub struct Interest {
    topic: Topic,
    interests: Arc<Interests>,
}

impl Interest {
    /// The topic.
    pub const fn topic(&self) -> Topic {
        self.topic
    }

    /// Waits until everything that is published from now on will be heard. There is no time limit: while the bus is away
    /// it is not heard.
    pub fn heard(&self) -> impl Future<Output = ()> + Send + use<> {
        let heard = self.interests.table.lock().wait(self.topic);
        async {
            if let Some(heard) = heard {
                // An error means that the interest is gone, and with it the reason to wait.
                let _ = heard.await;
            }
        }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.interests.table.lock().release(self.topic, Instant::now());
    }
}

/// Names a link within its subscriber.
pub(crate) type LinkId = u64;

/// Which link a topic is subscribed on, if there is one for it now.
type Route = Box<dyn Fn(Topic) -> Option<LinkId> + Send>;

/// The interests of one subscriber.
#[derive(Debug)]
pub(crate) struct Interests {
    table: Mutex<Table>,
}

impl Interests {
    /// Interests without a link; [`Self::open`] one and [`Self::reroute`].
    pub(crate) fn new(linger: Duration) -> Arc<Self> {
        Arc::new(Self { table: Mutex::new(Table::new(linger)) })
    }

    pub(crate) fn add(self: &Arc<Self>, topic: Topic) -> Interest {
        self.table.lock().acquire(topic);
        Interest { topic, interests: Arc::clone(self) }
    }

    /// A new link. Topics are subscribed on it from the next [`Self::reroute`] on.
    pub(crate) fn open(&self, link: LinkId) {
        self.table.lock().links.insert(link, Link::default());
    }

    /// A link that is gone, after no topic is routed to it any more.
    pub(crate) fn close(&self, link: LinkId) {
        self.table.lock().links.remove(&link);
    }

    /// Subscribes each topic where it belongs from now on. Returns the links that got topics which were there before;
    /// once their loss is told, [`Table::set_moved`] has them settle.
    pub(crate) fn reroute(&self, route: Route) -> Vec<LinkId> {
        self.table.lock().reroute(route)
    }

    /// Waits until there is something to subscribe on this link, or to unsubscribe.
    pub(crate) async fn changed(&self, link: LinkId) {
        let (changed, expiry) = {
            let table = self.table.lock();
            (table.links.get(&link).map(|link| Arc::clone(&link.changed)), table.next_expiry())
        };
        let Some(changed) = changed else { return std::future::pending().await };
        let Some(expiry) = expiry else { return changed.notified().await };
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep_until(expiry) => {}
        }
    }

    pub(crate) fn with<T>(&self, use_table: impl FnOnce(&mut Table) -> T) -> T {
        use_table(&mut self.table.lock())
    }
}

/// The state behind [`Interests`]; it does no I/O and is told the time.
pub(crate) struct Table {
    linger: Duration,
    topics: HashMap<Topic, Entry>,
    links: HashMap<LinkId, Link>,
    route: Route,
    /// Topics nobody holds, in the order of their expiry; some may be held again.
    lingering: VecDeque<(Instant, Topic)>,
}

#[derive(Debug, Default)]
struct Entry {
    link: Option<LinkId>,
    holders: usize,
    heard: bool,
    expires: Option<Instant>,
    waiting: Vec<oneshot::Sender<()>>,
}

/// What is to be done on one connection.
#[derive(Debug, Default)]
struct Link {
    /// Topics to subscribe; some may have gone again.
    pending: Vec<Topic>,
    /// Topics to unsubscribe; some may be of interest again.
    expired: Vec<Topic>,
    /// Were some of the pending ones subscribed elsewhere before, or nowhere?
    moved: bool,
    changed: Arc<Notify>,
}

impl Table {
    fn new(linger: Duration) -> Self {
        let route = Box::new(|_| None);
        Self { linger, topics: HashMap::new(), links: HashMap::new(), route, lingering: VecDeque::new() }
    }

    fn acquire(&mut self, topic: Topic) {
        let entry = self.topics.entry(topic).or_insert_with(|| {
            let link = (self.route)(topic);
            if let Some(link) = link.and_then(|link| self.links.get_mut(&link)) {
                link.pending.push(topic);
                link.changed.notify_one();
            }
            Entry { link, ..Entry::default() }
        });
        entry.holders += 1;
        entry.expires = None;
    }

    fn release(&mut self, topic: Topic, now: Instant) {
        let Some(entry) = self.topics.get_mut(&topic) else { return };
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders == 0 {
            let expires = now + self.linger;
            entry.expires = Some(expires);
            self.lingering.push_back((expires, topic));
            // So that the link knows when to look.
            if let Some(link) = entry.link.and_then(|link| self.links.get(&link)) {
                link.changed.notify_one();
            }
        }
    }

    fn wait(&mut self, topic: Topic) -> Option<oneshot::Receiver<()>> {
        let entry = self.topics.get_mut(&topic).filter(|entry| !entry.heard)?;
        let (sender, receiver) = oneshot::channel();
        // While the bus is away some ask again and again, and wait for a while only.
        entry.waiting.retain(|waiting| !waiting.is_closed());
        entry.waiting.push(sender);
        Some(receiver)
    }

    fn reroute(&mut self, route: Route) -> Vec<LinkId> {
        self.route = route;
        let mut moved = Vec::new();
        for (topic, entry) in &mut self.topics {
            let to = (self.route)(*topic);
            if to == entry.link {
                continue;
            }
            (entry.link, entry.heard) = (to, false);
            let Some(to) = to else { continue };
            if let Some(link) = self.links.get_mut(&to) {
                link.pending.push(*topic);
                moved.push(to);
            }
        }
        moved.sort_unstable();
        moved.dedup();
        moved
    }

    /// Has this link settle anew, because topics were rerouted to it.
    pub(crate) fn set_moved(&mut self, link: LinkId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.moved = true;
            link.changed.notify_one();
        }
    }

    /// Were topics rerouted to this link since it was asked last?
    pub(crate) fn take_moved(&mut self, link: LinkId) -> bool {
        self.links.get_mut(&link).is_some_and(|link| std::mem::take(&mut link.moved))
    }

    /// The topics to subscribe on this link now, each once.
    pub(crate) fn take_pending(&mut self, link: LinkId) -> Vec<Topic> {
        let pending = self.links.get_mut(&link).map(|link| std::mem::take(&mut link.pending)).unwrap_or_default();
        let is_pending =
            |topic: &Topic| self.topics.get(topic).is_some_and(|entry| entry.link == Some(link) && !entry.heard);
        pending.into_iter().filter(is_pending).collect()
    }

    /// The topics to unsubscribe on this link now: their linger is over.
    pub(crate) fn take_expired(&mut self, link: LinkId) -> Vec<Topic> {
        let expired = self.links.get_mut(&link).map(|link| std::mem::take(&mut link.expired)).unwrap_or_default();
        expired.into_iter().filter(|topic| !self.topics.contains_key(topic)).collect()
    }

    /// These topics are heard on this link from now on.
    pub(crate) fn set_heard(&mut self, link: LinkId, topics: &[Topic]) {
        for topic in topics {
            let Some(entry) = self.topics.get_mut(topic).filter(|entry| entry.link == Some(link)) else { continue };
            entry.heard = true;
            for waiting in std::mem::take(&mut entry.waiting) {
                // Who no longer waits dropped the receiver.
                let _ = waiting.send(());
            }
        }
    }

    /// The topics that are heard on this link.
    pub(crate) fn heard_on(&self, link: LinkId) -> Vec<Topic> {
        self.topics.keys().copied().filter(|topic| self.is_heard_on(link, *topic)).collect()
    }

    /// Is this topic heard on this link?
    pub(crate) fn is_heard_on(&self, link: LinkId, topic: Topic) -> bool {
        self.topics.get(&topic).is_some_and(|entry| entry.heard && entry.link == Some(link))
    }

    /// Nothing is heard on this link any more; all of it is to be subscribed again.
    pub(crate) fn set_all_unheard(&mut self, link: LinkId) {
        let mut pending = Vec::new();
        for (topic, entry) in self.topics.iter_mut().filter(|(_, entry)| entry.link == Some(link)) {
            entry.heard = false;
            pending.push(*topic);
        }
        if let Some(link) = self.links.get_mut(&link) {
            link.pending = pending;
        }
    }

    /// Takes out the topics whose linger is over, each to be unsubscribed on its link.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((expires, topic)) = self.lingering.pop_front_if(|(expires, _)| *expires <= now) {
            if self.topics.get(&topic).is_none_or(|entry| entry.expires != Some(expires)) {
                continue;
            }
            let entry = self.topics.remove(&topic);
            if let Some(link) = entry.and_then(|entry| self.links.get_mut(&entry.link?)) {
                link.expired.push(topic);
                link.changed.notify_one();
            }
        }
    }

    /// Is there an interest in the topic, or was there until a linger ago?
    pub(crate) fn holds(&self, topic: Topic) -> bool {
        self.topics.contains_key(&topic)
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.lingering.front().map(|(expires, _)| *expires)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("topics", &self.topics.len()).field("links", &self.links.len()).finish()
    }
}

#[cfg(test)]
mod tests;
