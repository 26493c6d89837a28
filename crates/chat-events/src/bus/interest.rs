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
        self.interests.changed.notify_one();
    }
}

/// The interests of one subscriber.
#[derive(Debug)]
pub(crate) struct Interests {
    table: Mutex<Table>,
    changed: Notify,
}

impl Interests {
    pub(crate) fn new(linger: Duration) -> Arc<Self> {
        Arc::new(Self { table: Mutex::new(Table::new(linger)), changed: Notify::new() })
    }

    pub(crate) fn add(self: &Arc<Self>, topic: Topic) -> Interest {
        self.table.lock().acquire(topic);
        self.changed.notify_one();
        Interest { topic, interests: Arc::clone(self) }
    }

    /// Waits until there is something to subscribe, or to unsubscribe.
    pub(crate) async fn changed(&self) {
        let expiry = self.table.lock().next_expiry();
        let Some(expiry) = expiry else { return self.changed.notified().await };
        tokio::select! {
            () = self.changed.notified() => {}
            () = tokio::time::sleep_until(expiry) => {}
        }
    }

    pub(crate) fn with<T>(&self, use_table: impl FnOnce(&mut Table) -> T) -> T {
        use_table(&mut self.table.lock())
    }
}

/// The state behind [`Interests`]; it does no I/O and is told the time.
#[derive(Debug)]
pub(crate) struct Table {
    linger: Duration,
    topics: HashMap<Topic, Entry>,
    /// Topics to subscribe; some may have gone again.
    pending: Vec<Topic>,
    /// Topics nobody holds, in the order of their expiry; some may be held again.
    lingering: VecDeque<(Instant, Topic)>,
}

#[derive(Debug, Default)]
struct Entry {
    holders: usize,
    heard: bool,
    expires: Option<Instant>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Table {
    fn new(linger: Duration) -> Self {
        Self { linger, topics: HashMap::new(), pending: Vec::new(), lingering: VecDeque::new() }
    }

    fn acquire(&mut self, topic: Topic) {
        let pending = &mut self.pending;
        let entry = self.topics.entry(topic).or_insert_with(|| {
            pending.push(topic);
            Entry::default()
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
        }
    }

    fn wait(&mut self, topic: Topic) -> Option<oneshot::Receiver<()>> {
        let entry = self.topics.get_mut(&topic).filter(|entry| !entry.heard)?;
        let (sender, receiver) = oneshot::channel();
        entry.waiting.push(sender);
        Some(receiver)
    }

    /// The topics to subscribe now, each once.
    pub(crate) fn take_pending(&mut self) -> Vec<Topic> {
        let pending = std::mem::take(&mut self.pending);
        pending.into_iter().filter(|topic| self.topics.get(topic).is_some_and(|entry| !entry.heard)).collect()
    }

    /// These topics are heard from now on.
    pub(crate) fn set_heard(&mut self, topics: &[Topic]) {
        for topic in topics {
            let Some(entry) = self.topics.get_mut(topic) else { continue };
            entry.heard = true;
            for waiting in entry.waiting.drain(..) {
                // Who no longer waits dropped the receiver.
                let _ = waiting.send(());
            }
        }
    }

    /// Nothing is heard any more; all is to be subscribed again.
    pub(crate) fn set_all_unheard(&mut self) {
        self.topics.values_mut().for_each(|entry| entry.heard = false);
        self.pending = self.topics.keys().copied().collect();
    }

    /// Takes out the topics whose linger is over; they are to be unsubscribed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Topic> {
        let mut expired = Vec::new();
        while let Some((expires, topic)) = self.lingering.pop_front_if(|(expires, _)| *expires <= now) {
            if self.topics.get(&topic).is_some_and(|entry| entry.expires == Some(expires)) {
                self.topics.remove(&topic);
                expired.push(topic);
            }
        }
        expired
    }

    /// Is there an interest in the topic, or was there until a linger ago?
    pub(crate) fn holds(&self, topic: Topic) -> bool {
        self.topics.contains_key(&topic)
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.lingering.front().map(|(expires, _)| *expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_secs(1);

    fn topic(n: u32) -> Topic {
        Topic::Room(format!("018f4e7a-0000-7000-8000-{n:012}").parse().unwrap())
    }

    #[test]
    fn a_topic_is_subscribed_once_however_many_hold_it() {
        let mut table = Table::new(LINGER);
        table.acquire(topic(1));
        table.acquire(topic(1));
        assert_eq!(table.take_pending(), [topic(1)]);
        table.set_heard(&[topic(1)]);
        table.acquire(topic(1));
        assert_eq!(table.take_pending(), []);
    }

    #[test]
    fn it_lingers_after_the_last_holder() {
        let (mut table, now) = (Table::new(LINGER), Instant::now());
        table.acquire(topic(1));
        table.acquire(topic(1));
        table.release(topic(1), now);
        assert_eq!(table.expire(now + LINGER * 2), [], "somebody still holds it");
        table.release(topic(1), now);
        assert_eq!(table.expire(now), []);
        assert!(table.holds(topic(1)));
        assert_eq!(table.expire(now + LINGER), [topic(1)]);
        assert!(!table.holds(topic(1)));
    }

    #[test]
    fn who_comes_back_within_the_linger_keeps_it() {
        let (mut table, now) = (Table::new(LINGER), Instant::now());
        table.acquire(topic(1));
        table.take_pending();
        table.set_heard(&[topic(1)]);
        table.release(topic(1), now);
        table.acquire(topic(1));
        assert_eq!(table.expire(now + LINGER), []);
        assert!(table.wait(topic(1)).is_none(), "it is still heard");
        table.release(topic(1), now + LINGER);
        assert_eq!(table.expire(now + LINGER), [], "the linger starts anew");
        assert_eq!(table.expire(now + LINGER * 2), [topic(1)]);
    }

    #[test]
    fn waiting_ends_when_the_topic_is_heard() {
        let mut table = Table::new(LINGER);
        table.acquire(topic(1));
        let mut heard = table.wait(topic(1)).unwrap();
        assert!(heard.try_recv().is_err());
        table.set_heard(&[topic(1), topic(2)]);
        assert!(heard.try_recv().is_ok());
    }

    #[test]
    fn after_a_loss_all_is_subscribed_again() {
        let (mut table, now) = (Table::new(LINGER), Instant::now());
        for n in 1..=3 {
            table.acquire(topic(n));
        }
        let all = table.take_pending();
        table.set_heard(&all);
        table.release(topic(3), now);
        table.expire(now + LINGER);
        table.set_all_unheard();
        let mut again = table.take_pending();
        again.sort();
        assert_eq!(again, [topic(1), topic(2)]);
    }

    #[test]
    fn a_topic_that_went_before_it_was_subscribed_is_not() {
        let (mut table, now) = (Table::new(Duration::ZERO), Instant::now());
        table.acquire(topic(1));
        table.release(topic(1), now);
        assert_eq!(table.expire(now), [topic(1)]);
        assert_eq!(table.take_pending(), []);
    }
}
