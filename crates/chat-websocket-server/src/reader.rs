//! Reads of the log, for all rooms together: bounded, so that a storm of repairs or of returning clients leaves storage
//! something to do other work with, and the other tasks of the instance their time.

mod pages;

use std::{sync::Arc, time::Duration};

use chat_domain::{
    ChannelId,
    ports::{LoggedEvent, Storage, StorageError},
};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use pages::{Log, Page};

use crate::{in_time::in_time, metrics::Metrics};
use pages::Pages;

/// Most events in one read. What sessions get in one go: with short messages less than 64 KiB, which is one write; with
/// the longest there are (60 KB) a read brings 8 MB.
pub const PAGE: u32 = 128;

/// Replays that queue events at the same moment. That takes a replay microseconds: it asks for its turn when the page is
/// in memory, and reads it again only if it went meanwhile. Between two turns it waits for storage or for its client, and
/// holds nothing. So however many sessions come back, rooms and sessions that are live rarely have more than this ahead
/// of them, and a turn of each room that catches up its own from memory.
const TURNS: usize = 32;

/// How long a read may take. A few that hang would hold up all that wait behind them; who asked tries again later.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// What reads may take.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Reads at once for rooms with a hole.
    pub repairs: usize,
    /// Reads at once for sessions that come back.
    pub replays: usize,
    /// Bytes of pages that are kept in memory. Beyond it those go that nobody asked for the longest time.
    pub page_bytes: u64,
}

/// Access to the log with bounded concurrency. Repairs and replays do not wait for each other.
pub struct LogReader {
    storage: Arc<dyn Storage>,
    repairs: Semaphore,
    turns: Semaphore,
    pages: Pages,
    metrics: Arc<Metrics>,
}

impl LogReader {
    /// A reader with at most so many reads at once; the rest waits in line.
    pub fn new(storage: Arc<dyn Storage>, metrics: Arc<Metrics>, limits: ReadLimits) -> Self {
        Self {
            pages: Pages::new(Arc::clone(&storage), Arc::clone(&metrics), limits),
            storage,
            repairs: Semaphore::new(limits.repairs),
            turns: Semaphore::new(TURNS),
            metrics,
        }
    }

    /// The events after `after`, at most [`PAGE`], for a room with a hole.
    pub async fn repair(&self, channel_id: ChannelId, after: u64) -> Result<Vec<LoggedEvent>, StorageError> {
        // The semaphores are never closed; if they were, reading on unbounded would be the lesser evil.
        let _permit = self.repairs.acquire().await.ok();
        self.metrics.repair_reads.inc();
        in_time("replay", READ_TIMEOUT, self.storage.replay(channel_id, after, PAGE)).await
    }

    /// Where the log ended, if a read of what came after `after` came to its end.
    pub fn end(read: &[LoggedEvent], after: u64) -> Option<u64> {
        (read.len() < PAGE as usize).then(|| read.last().map_or(after, |event| event.seq))
    }

    /// The turn of a replay, until the returned value is dropped. Who has it queues one page and waits for no client.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// A page with the event `seq`, and those behind it up to `upto`, for sessions that come back. All who ask for the
    /// same page share one read. If the log cannot be read or lacks the event, that was said in the log of this process.
    ///
    /// Not to be dropped before it ends.
    pub async fn page(&self, log: Log, seq: u64, upto: u64) -> Option<Arc<Page>> {
        self.pages.get(log, seq, upto).await
    }
}
