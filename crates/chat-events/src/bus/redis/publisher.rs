use async_trait::async_trait;
use fred::{
    clients::Client,
    interfaces::{ClientLike, PubsubInterface},
    types::Value,
};

use super::{RedisConfig, unavailable};
use crate::bus::{BusError, Publication, Publisher};

/// Most payloads that go out in one pipeline, which bounds what one call keeps in memory.
const PIPELINE: usize = 512;

/// The sending side of the bus over Redis.
pub struct RedisPublisher {
    client: Client,
}

impl RedisPublisher {
    /// A publisher that connects in the background, and again whenever the connection is lost.
    pub fn connect(config: &RedisConfig) -> Result<Self, BusError> {
        let client = config.builder()?.build().map_err(|error| BusError::Address(error.details().to_owned()))?;
        client.connect();
        Ok(Self { client })
    }

    async fn publish_some(&self, batch: Vec<Publication>) -> Result<(), BusError> {
        let pipeline = self.client.pipeline();
        for Publication { topic, payload } in batch {
            let queued = pipeline.publish::<(), _, _>(topic.to_string(), Value::Bytes(payload)).await;
            queued.map_err(|error| unavailable(&error))?;
        }
        pipeline.all::<Vec<Value>>().await.map(drop).map_err(|error| unavailable(&error))
    }
}

#[async_trait]
impl Publisher for RedisPublisher {
    async fn publish(&self, mut batch: Vec<Publication>) -> Result<(), BusError> {
        while !batch.is_empty() {
            // While Redis is away nothing waits for it: the log has the events, and readers look there.
            if !self.client.is_connected() {
                return Err(BusError::Unavailable("not connected".into()));
            }
            let rest = batch.split_off(batch.len().min(PIPELINE));
            self.publish_some(batch).await?;
            batch = rest;
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), BusError> {
        if !self.client.is_connected() {
            return Err(BusError::Unavailable("not connected".into()));
        }
        self.client.ping::<()>(None).await.map_err(|error| unavailable(&error))
    }

    async fn close(&self) {
        // An error means that there is no connection to close.
        let _ = self.client.quit().await;
    }
}
