//! The bus inside one process, for tests of what is built on it. It keeps the same contract as the one over Redis.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    BusError, Delivery, Interest, Publication, Publisher, Sink, Subscriber,
    interest::{Interests, LinkId},
};
use crate::Topic;

/// Everything is heard on one link.
const LINK: LinkId = 0;

/// A bus inside one process.
#[derive(Default)]
pub struct MemoryBus {
    subscribers: Mutex<Vec<Weak<MemorySubscriber>>>,
}

impl MemoryBus {
    /// A subscriber whose deliveries go to `sink`.
    pub fn subscriber(&self, linger: Duration, sink: Sink) -> Arc<MemorySubscriber> {
        let interests = Interests::new(linger);
        interests.reroute(Box::new(|_| Some(LINK)));
        let subscriber = Arc::new(MemorySubscriber { interests, sink });
        self.subscribers.lock().push(Arc::downgrade(&subscriber));
        subscriber
    }
}

#[async_trait]
impl Publisher for MemoryBus {
    async fn publish(&self, batch: Vec<Publication>) -> Result<(), BusError> {
        let subscribers: Vec<_> = self.subscribers.lock().iter().filter_map(Weak::upgrade).collect();
        for publication in batch {
            for subscriber in &subscribers {
                subscriber.hear(&publication);
            }
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), BusError> {
        Ok(())
    }

    async fn close(&self) {}
}

/// The hearing side of a [`MemoryBus`].
pub struct MemorySubscriber {
    interests: Arc<Interests>,
    sink: Sink,
}

impl MemorySubscriber {
    fn hear(&self, publication: &Publication) {
        let heard = self.interests.with(|table| {
            table.expire(Instant::now());
            table.holds(publication.topic)
        });
        if heard {
            (self.sink)(Delivery::Payload { topic: publication.topic, payload: publication.payload.clone() });
        }
    }
}

impl Subscriber for MemorySubscriber {
    fn interest(&self, topic: Topic) -> Interest {
        let interest = self.interests.add(topic);
        self.interests.with(|table| table.set_heard(LINK, &[topic]));
        interest
    }
}
