//! How a page of history is put together from what lies on both sides of a pivot.

use chat_domain::{
    Message,
    ports::{HistoryAnchor, HistoryPage},
};

use crate::rows::column;

/// What to read for a page: messages with `seq < pivot`, newest first, and with `seq >= pivot`, oldest first. On each
/// side one more than may be needed, which tells whether there are more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// The first `seq` of the newer side.
    pub(crate) pivot: i64,
    older: u32,
    newer: u32,
    limit: u32,
}

impl Plan {
    pub(crate) fn new(anchor: HistoryAnchor, limit: u32) -> Self {
        match anchor {
            HistoryAnchor::Latest => Self { pivot: i64::MAX, older: limit, newer: 0, limit },
            HistoryAnchor::Before(seq) => Self { pivot: column(seq), older: limit, newer: 0, limit },
            HistoryAnchor::After(seq) => Self { pivot: column(seq.saturating_add(1)), older: 0, newer: limit, limit },
            HistoryAnchor::Around(seq) => Self { pivot: column(seq), older: limit, newer: limit, limit },
        }
    }

    /// How many rows to read on the older side.
    pub(crate) fn older_rows(&self) -> i64 {
        i64::from(self.older) + 1
    }

    /// How many rows to read on the newer side.
    pub(crate) fn newer_rows(&self) -> i64 {
        i64::from(self.newer) + 1
    }

    /// The page, from the rows that were read, in any order.
    pub(crate) fn page(&self, mut messages: Vec<Message>) -> HistoryPage {
        messages.sort_unstable_by_key(|message| message.seq);
        let older_read = messages.iter().filter(|message| column(message.seq) < self.pivot).count();
        let (older, newer) = self.shares(older_read, messages.len() - older_read);
        HistoryPage {
            has_older: older < older_read,
            has_newer: older_read + newer < messages.len(),
            messages: messages.drain(older_read - older..older_read + newer).collect(),
        }
    }

    /// How much of each side goes into the page: half and half, and what one side does not fill goes to the other.
    fn shares(&self, older_read: usize, newer_read: usize) -> (usize, usize) {
        let [limit, older_most, newer_most] = [self.limit, self.older, self.newer].map(|n| n as usize);
        let (older_read, newer_read) = (older_read.min(older_most), newer_read.min(newer_most));
        let older = older_read.min((limit / 2).max(limit.saturating_sub(newer_read)));
        (older, newer_read.min(limit - older))
    }
}
