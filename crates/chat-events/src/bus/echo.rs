//! Whether what a process publishes is heard: the only proof that pub/sub works.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::{BusError, Interest, Publication, Publisher};
use crate::Topic;

/// How long a probe may take to come back, the wait for its topic to be heard included. Less than a health check may take:
/// one that takes too long means down, and without the bus the servers are only slower.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Hears its own probes. Its owner has an interest in [`Self::topic`] and gives it what comes from there.
#[derive(Debug)]
pub struct Echo {
    id: Uuid,
    /// At most as many as there are checks under way: each takes its own out again, however it ends.
    awaited: Mutex<HashMap<Uuid, oneshot::Sender<()>>>,
}

impl Echo {
    /// The echo of the process with this id.
    pub fn new(id: Uuid) -> Self {
        Self { id, awaited: Mutex::default() }
    }

    /// Where its probes go.
    pub const fn topic(&self) -> Topic {
        Topic::Probe(self.id)
    }

    /// Takes what came from the topic.
    pub fn hear(&self, payload: &[u8]) {
        let awaited = Uuid::try_parse_ascii(payload).ok().and_then(|probe| self.awaited.lock().remove(&probe));
        if let Some(awaited) = awaited {
            // Who gave up does not listen any more.
            let _ = awaited.send(());
        }
    }

    /// Publishes a probe and waits until it comes back. Returns how long that took.
    pub async fn check(&self, publisher: &dyn Publisher, interest: &Interest) -> Result<Duration, BusError> {
        let probe = Uuid::now_v7();
        let (sender, heard) = oneshot::channel();
        let payload = Bytes::from(probe.to_string());
        let round_trip = async {
            interest.heard().await;
            let began = Instant::now();
            let _awaited = Awaited::new(self, probe, sender);
            publisher.publish(vec![Publication { topic: self.topic(), payload }]).await?;
            heard.await.map_err(|_| BusError::Unavailable("the echo is gone".into()))?;
            Ok(began.elapsed())
        };
        let outcome = tokio::time::timeout(PATIENCE, round_trip).await;
        outcome.unwrap_or_else(|_| Err(BusError::Unavailable("what is published is not heard".into())))
    }
}

/// A probe that is waited for.
struct Awaited<'a> {
    echo: &'a Echo,
    probe: Uuid,
}

impl<'a> Awaited<'a> {
    fn new(echo: &'a Echo, probe: Uuid, sender: oneshot::Sender<()>) -> Self {
        echo.awaited.lock().insert(probe, sender);
        Self { echo, probe }
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.echo.awaited.lock().remove(&self.probe);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bus::{Delivery, Subscriber, memory::MemoryBus};

    #[tokio::test(start_paused = true)]
    async fn a_probe_comes_back_or_not() {
        let (bus, echo) = (MemoryBus::default(), Arc::new(Echo::new(Uuid::from_u128(7))));
        let hears = Arc::clone(&echo);
        let sink = Box::new(move |delivery| {
            if let Delivery::Payload { payload, .. } = delivery {
                hears.hear(&payload);
            }
        });
        let subscriber = bus.subscriber(Duration::ZERO, sink);
        let interest = subscriber.interest(echo.topic());
        echo.check(&bus, &interest).await.unwrap();
        drop(subscriber);
        assert!(echo.check(&bus, &interest).await.is_err(), "nobody listens any more");
        assert!(echo.awaited.lock().is_empty(), "nothing is left behind");
        echo.hear(b"no probe");
    }
}
