//! Pages of logs in memory, for the sessions that come back to the same rooms at the same time.
//!
//! A log is cut into pages at fixed places, so that replays from different positions share them. What is on a page never
//! changes; the newest page of a log grows. A page that does not reach as far as it is asked for is read on, from where it
//! ends, and never taken for the whole.

use std::{sync::Arc, time::Duration};

use chat_domain::{
    ChannelId, Epoch,
    ports::{LoggedEvent, Storage, StorageError},
};
use moka::{future::Cache, policy::EvictionPolicy};
use tokio::sync::Semaphore;
use tracing::warn;

use super::{PAGE, READ_TIMEOUT, ReadLimits};
use crate::{frame::TextFrame, in_time::in_time, metrics::Metrics, room::event::RoomEvent};

/// What a frame takes beside its bytes.
const FRAME_OVERHEAD: usize = 96;
/// How long a page stays that nobody asks for: long enough for the stragglers of a storm.
const IDLE: Duration = Duration::from_secs(30);

/// One incarnation of a channel's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    /// The channel.
    pub channel_id: ChannelId,
    /// The incarnation.
    pub epoch: Epoch,
}

/// Consecutive events of a log, as sessions receive them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// `seq` of the first.
    first: u64,
    frames: Vec<TextFrame>,
}

/// What a read brought; a failure is shared by all who waited for it, and replaced by who comes later.
type Outcome = Result<Arc<Page>, Arc<StorageError>>;

/// A place in a log: which of its pages.
type Place = (Log, u64);

pub(super) struct Pages {
    cache: Cache<Place, Outcome>,
    storage: Arc<dyn Storage>,
    reads: Semaphore,
    metrics: Arc<Metrics>,
}

impl Pages {
    pub(super) fn new(storage: Arc<dyn Storage>, metrics: Arc<Metrics>, limits: ReadLimits) -> Self {
        let cache = Cache::builder()
            .max_capacity(limits.page_bytes)
            .weigher(weigh)
            // The page that was just read is asked for again next: however popular others were, it is kept.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(IDLE)
            .build();
        Self { cache, storage, reads: Semaphore::new(limits.replays), metrics }
    }

    /// Who asks must not be dropped meanwhile: the cache lets the next in line read instead, but gives up with a panic
    /// when that has happened to somebody very often.
    pub(super) async fn get(&self, log: Log, seq: u64, upto: u64) -> Option<Arc<Page>> {
        for _ in 0..2 {
            match self.ask(log, seq, upto).await {
                Ok(page) if page.has(seq) => return Some(page),
                // A read that was under way already may have begun before there was this event.
                Ok(_) => {}
                Err(error) => {
                    warn!(channel.id = %log.channel_id, error = %error, "a replay could not read the log");
                    return None;
                }
            }
        }
        warn!(channel.id = %log.channel_id, log.seq = seq, "the log lacks an event, or holds one that does not decode");
        None
    }

    async fn ask(&self, log: Log, seq: u64, upto: u64) -> Outcome {
        let number = seq.saturating_sub(1) / u64::from(PAGE);
        let needed = upto.min((number + 1).saturating_mul(u64::from(PAGE)));
        let place = (log, number);
        let falls_short = |outcome: &Outcome| !outcome.as_ref().is_ok_and(|page| page.reaches(needed));
        let found = self.cache.entry(place).or_insert_with_if(self.read(place), falls_short).await;
        if found.is_fresh() {
            // Now, not some time: between two of its own cleanings the cache takes in dozens of pages beyond its bound.
            self.cache.run_pending_tasks().await;
        } else {
            self.metrics.page_hits.inc();
        }
        found.into_value()
    }

    async fn read(&self, place: Place) -> Outcome {
        let (Log { channel_id, .. }, number) = place;
        let known = self.cache.get(&place).await.and_then(Result::ok);
        let begin = number * u64::from(PAGE);
        let after = known.as_deref().and_then(Page::last).unwrap_or(begin);
        let _permit = self.reads.acquire().await.ok();
        self.metrics.page_reads.inc();
        let limit = PAGE - u32::try_from(after - begin).unwrap_or(0).min(PAGE);
        let logged =
            in_time("replay", READ_TIMEOUT, self.storage.replay(channel_id, after, limit)).await.map_err(Arc::new)?;
        Ok(Arc::new(Page::extend(known.as_deref(), &logged)))
    }
}

impl Page {
    /// A known page and what came after it. It ends where the log has a hole, or an entry that does not decode.
    fn extend(known: Option<&Self>, logged: &[LoggedEvent]) -> Self {
        let mut frames = known.map(|page| page.frames.clone()).unwrap_or_default();
        let first = match known {
            Some(page) if !frames.is_empty() => page.first,
            _ => logged.first().map_or(0, |event| event.seq),
        };
        for logged in logged {
            let expected = first + frames.len() as u64;
            match RoomEvent::from_log(logged) {
                Ok(event) if event.seq == expected => frames.push(event.frame),
                _ => break,
            }
        }
        Self { first, frames }
    }

    /// The event `seq` and those behind it, up to `upto`, as far as they are on the page.
    pub fn events(&self, seq: u64, upto: u64) -> impl DoubleEndedIterator<Item = &TextFrame> {
        let seq = seq.max(self.first);
        let skipped = seq - self.first;
        let count = (upto + 1).saturating_sub(seq);
        let as_index = |number| usize::try_from(number).unwrap_or(usize::MAX);
        self.frames.iter().skip(as_index(skipped)).take(as_index(count))
    }

    fn last(&self) -> Option<u64> {
        (!self.frames.is_empty()).then(|| self.first + self.frames.len() as u64 - 1)
    }

    fn has(&self, seq: u64) -> bool {
        self.first <= seq && self.reaches(seq)
    }

    fn reaches(&self, seq: u64) -> bool {
        self.last().is_some_and(|last| last >= seq)
    }
}

fn weigh(_: &Place, outcome: &Outcome) -> u32 {
    let bytes: usize = match outcome {
        Ok(page) => page.frames.iter().map(|frame| frame.len() + FRAME_OVERHEAD).sum(),
        Err(_) => 0,
    };
    u32::try_from(bytes + FRAME_OVERHEAD).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use chat_domain::Timestamp;

    use super::*;

    fn logged(channel_id: ChannelId, seqs: impl IntoIterator<Item = u64>) -> Vec<LoggedEvent> {
        let body = |seq| format!(r#"{{"type":"MESSAGE","channelId":"{channel_id}","seq":{seq}}}"#).into();
        seqs.into_iter().map(|seq| LoggedEvent { channel_id, seq, body: body(seq) }).collect()
    }

    fn channel() -> ChannelId {
        ChannelId::new(Timestamp::from_millis(0))
    }

    fn count(page: &Page, seq: u64, upto: u64) -> usize {
        page.events(seq, upto).count()
    }

    #[test]
    fn a_page_gives_what_is_asked_for_and_no_more() {
        let page = Page::extend(None, &logged(channel(), 129..=200));
        assert_eq!((count(&page, 129, 200), count(&page, 150, 160), count(&page, 200, 500)), (72, 11, 1));
        assert_eq!((count(&page, 1, 150), count(&page, 1, 128)), (22, 0));
        assert!(page.has(129) && page.has(200) && !page.has(128) && !page.has(201));
    }

    #[test]
    fn a_page_grows_from_where_it_ended() {
        let channel = channel();
        let begun = Page::extend(None, &logged(channel, 1..=5));
        let grown = Page::extend(Some(&begun), &logged(channel, 6..=9));
        assert_eq!((grown.first, grown.last()), (1, Some(9)));
        assert_eq!(Page::extend(Some(&Page::default()), &logged(channel, 1..=2)).last(), Some(2));
    }

    #[test]
    fn a_page_ends_before_a_hole_and_before_what_does_not_decode() {
        let channel = channel();
        assert_eq!(Page::extend(None, &logged(channel, [1, 2, 4])).last(), Some(2));
        let mut entries = logged(channel, 1..=3);
        entries[1].body = "not JSON".into();
        assert_eq!(Page::extend(None, &entries).last(), Some(1));
        assert_eq!(Page::extend(None, &[]).last(), None);
    }
}
