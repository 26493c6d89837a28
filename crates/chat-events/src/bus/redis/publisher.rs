use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{RedisConfig, access::Access, line::Use, metrics::Metrics, not_connected, routes::Routes};
use crate::bus::{BusError, Publication, Publisher};

/// Most payloads that go out in one pipeline, which bounds what one call keeps in memory.
const PIPELINE: usize = 512;

/// The sending side of the bus over Redis.
pub struct RedisPublisher {
    routes: Arc<Routes>,
}

impl RedisPublisher {
    /// A publisher that connects in the background, again whenever a connection is lost, and to another server when that
    /// one has become the master or the owner of a topic's slot. It follows the servers as long as the returned future is
    /// polled, until `stop`; after that it publishes on the connections that it has.
    pub fn connect(
        config: &RedisConfig,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), BusError> {
        let routes = Routes::new(Arc::new(Access::new(config)?), Use::Publishing, metrics);
        let follow = Arc::clone(&routes).follow();
        let run = async move {
            stop.run_until_cancelled(follow).await;
        };
        Ok((Self { routes }, run))
    }

    async fn publish_pipeline(&self, batch: Vec<Publication>) -> Result<(), BusError> {
        // What is unreachable is dropped: the log has the events, and readers look there.
        let (groups, unreachable) = self.routes.by_line(batch, |publication| publication.topic.to_string());
        let sent = join_all(groups.iter().map(|(line, group)| line.publish(group))).await;
        let refused = (!unreachable.is_empty()).then(|| Err(not_connected()));
        sent.into_iter().chain(refused).collect()
    }
}

#[async_trait]
impl Publisher for RedisPublisher {
    async fn publish(&self, mut batch: Vec<Publication>) -> Result<(), BusError> {
        let mut outcome = Ok(());
        while !batch.is_empty() {
            let rest = batch.split_off(batch.len().min(PIPELINE));
            // What cannot be reached keeps nothing from those that can.
            outcome = outcome.and(self.publish_pipeline(batch).await);
            batch = rest;
        }
        outcome
    }

    async fn ping(&self) -> Result<(), BusError> {
        let lines = self.routes.lines();
        if lines.is_empty() {
            return Err(not_connected());
        }
        let answers = join_all(lines.iter().map(|line| line.ping())).await;
        answers.into_iter().collect()
    }

    async fn close(&self) {
        join_all(self.routes.lines().iter().map(|line| line.close())).await;
    }
}
