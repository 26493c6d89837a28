//! What came, over all connections of a fleet.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::failure::Failure;

/// After so long without all that is waited for, something is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Counts messages and wakes who waits for a number of them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    delivered: AtomicU64,
    goal: AtomicU64,
    /// How often a connection had to ask or to come once more.
    refusals: AtomicU64,
    changed: Notify,
    complaint: OnceLock<String>,
    /// Length of the text of the last message.
    payload: AtomicUsize,
    delays: Option<Mutex<Delays>>,
}

/// From the moment at which a message was meant to be sent to its receipt.
#[derive(Debug)]
struct Delays {
    origin: Instant,
    histogram: Histogram<u64>,
}

impl Tally {
    /// One that also reads from each message when it was meant to be sent, counted from `origin`.
    pub(crate) fn with_delays(origin: Instant) -> Result<Self, Failure> {
        let delays = Delays { origin, histogram: microseconds()? };
        Ok(Self { delays: Some(Mutex::new(delays)), ..Self::default() })
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::SeqCst)
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    pub(crate) fn payload(&self) -> usize {
        self.payload.load(Ordering::Relaxed)
    }

    /// The delays since they were last taken, in microseconds; none if nothing reads them.
    pub(crate) fn take_delays(&self) -> Option<Histogram<u64>> {
        let mut delays = self.delays.as_ref()?.lock();
        let taken = delays.histogram.clone();
        delays.histogram.reset();
        Some(taken)
    }

    /// Waits until so many have come since the beginning. More than that is as wrong as less.
    pub(crate) async fn reach(&self, goal: u64) -> Result<(), Failure> {
        self.goal.store(goal, Ordering::SeqCst);
        let reached = async {
            while self.delivered() < goal && self.complaint.get().is_none() {
                self.changed.notified().await;
            }
        };
        let in_time = timeout(PATIENCE, reached).await;
        if let Some(complaint) = self.complaint.get() {
            return Err(Failure::new(complaint));
        }
        match (in_time, self.delivered()) {
            (Ok(()), delivered) if delivered == goal => Ok(()),
            (_, delivered) => {
                Err(Failure(format!("{delivered} deliveries came of {goal}, after {PATIENCE:?} at most")))
            }
        }
    }

    pub(super) fn message(&self, payload: &[u8]) {
        self.payload.store(payload.len(), Ordering::Relaxed);
        let Some(delays) = &self.delays else { return };
        let Some(meant_at) = meant_at(payload) else {
            return self.complain("a message does not tell when it was meant to be sent".to_owned());
        };
        let mut delays = delays.lock();
        let delay = delays.origin.elapsed().saturating_sub(meant_at);
        delays.histogram.saturating_record(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn count_refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add(&self, messages: u64) {
        let delivered = self.delivered.fetch_add(messages, Ordering::SeqCst) + messages;
        if delivered >= self.goal.load(Ordering::SeqCst) {
            self.changed.notify_one();
        }
    }

    pub(super) fn complain(&self, complaint: String) {
        // The first one explains the others.
        let _ = self.complaint.set(complaint);
        self.changed.notify_one();
    }
}

/// An empty histogram of microseconds up to a minute, exact to a thousandth.
pub(crate) fn microseconds() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(|error| Failure(error.to_string()))
}

const MARK: &[u8] = b"\"at=";

/// A text of `length` that tells when it was meant to be sent.
pub(crate) fn marked_text(meant_at: Duration, length: usize) -> String {
    format!("{:x<length$}", format!("at={};", meant_at.as_micros()))
}

fn meant_at(payload: &[u8]) -> Option<Duration> {
    let begin = payload.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let digits = payload.get(begin..)?.split(|byte| *byte == b';').next()?;
    Some(Duration::from_micros(std::str::from_utf8(digits).ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> String {
        format!("{{\"type\":\"MESSAGE\",\"content\":\"{text}\"}}")
    }

    #[test]
    fn a_message_tells_when_it_was_meant_to_be_sent() {
        let at = Duration::from_micros(1_234_567);
        let text = marked_text(at, 200);
        assert_eq!((text.len(), meant_at(event(&text).as_bytes())), (200, Some(at)));
        assert_eq!(meant_at(event("hello").as_bytes()), None);
    }

    #[test]
    fn delays_are_counted_from_the_meant_time() {
        let origin = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let tally = Tally::with_delays(origin).unwrap();
        for at in [3, 9] {
            tally.message(event(&marked_text(Duration::from_secs(at), 50)).as_bytes());
        }
        let delays = tally.take_delays().unwrap();
        assert_eq!(delays.len(), 2);
        assert!(delays.max() >= 7_000_000 && delays.max() < 8_000_000, "{}", delays.max());
        assert_eq!(tally.take_delays().unwrap().len(), 0, "they are taken");
    }

    #[tokio::test]
    async fn a_goal_is_reached_exactly() {
        let tally = Tally::default();
        tally.add(3);
        tally.reach(3).await.unwrap();
        tally.add(2);
        assert!(tally.reach(4).await.unwrap_err().to_string().contains("5 deliveries came of 4"));
    }

    #[tokio::test]
    async fn a_complaint_ends_the_wait() {
        let tally = Tally::default();
        tally.complain("closed".to_owned());
        assert_eq!(tally.reach(1).await.unwrap_err().to_string(), "closed");
    }
}
