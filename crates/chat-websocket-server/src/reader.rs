//! Reads of the log, for all rooms together: bounded, so that a storm of repairs or of returning clients leaves storage
//! something to do other work with.

use std::sync::Arc;

use chat_domain::{
    ChannelId,
    ports::{Head, LoggedEvent, Storage, StorageError},
};
use tokio::sync::Semaphore;

/// Most events in one read.
pub const PAGE: u32 = 256;

/// Access to the log with bounded concurrency. Repairs and replays do not wait for each other.
pub struct LogReader {
    storage: Arc<dyn Storage>,
    repairs: Semaphore,
    replays: Semaphore,
}

impl LogReader {
    /// A reader with at most so many repairs and so many replays at once; the rest waits in line.
    pub fn new(storage: Arc<dyn Storage>, repairs: usize, replays: usize) -> Self {
        Self { storage, repairs: Semaphore::new(repairs), replays: Semaphore::new(replays) }
    }

    /// The events after `after`, for a room with a hole.
    pub async fn repair(&self, channel_id: ChannelId, after: u64) -> Result<Vec<LoggedEvent>, StorageError> {
        // The semaphores are never closed; if they were, reading on unbounded would be the lesser evil.
        let _permit = self.repairs.acquire().await.ok();
        self.storage.replay(channel_id, after, PAGE).await
    }

    /// The events after `after`, for a session that comes back.
    pub async fn replay(&self, channel_id: ChannelId, after: u64, most: u64) -> Result<Vec<LoggedEvent>, StorageError> {
        let _permit = self.replays.acquire().await.ok();
        let limit = u32::try_from(most).unwrap_or(PAGE).min(PAGE);
        self.storage.replay(channel_id, after, limit).await
    }

    /// The head of one channel's log.
    pub async fn head(&self, channel_id: ChannelId) -> Result<Option<Head>, StorageError> {
        let _permit = self.repairs.acquire().await.ok();
        Ok(self.storage.heads(&[channel_id]).await?.pop())
    }
}
