//! The order of a room's events: in order, each once, no hole.
//!
//! Pub/sub may lose, repeat and permute; the log does not. The sequencer does no I/O and is told the time. It is offered
//! what comes from either side and says when the log has to be read:
//!
//! - the next number is delivered, with all that it frees from being held back;
//! - a number that was delivered is a duplicate;
//! - a later number is held back, within bounds: what does not fit is forgotten, the log has it;
//! - when the missing ones do not come within the reorder window, the log is to be read from where the hole begins.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::event::RoomEvent;

/// The bounds of a sequencer.
#[derive(Clone, Copy, Debug)]
pub struct SequencerLimits {
    /// How long missing events may take to come by themselves: two message servers may publish out of order.
    pub reorder_window: Duration,
    /// Most events that are held back.
    pub held_events: usize,
    /// Most bytes that are held back.
    pub held_bytes: usize,
    /// How long to wait after a read of the log failed or did not help, at first; doubled each time.
    pub backoff: Duration,
    /// The longest such wait.
    pub max_backoff: Duration,
}

impl Default for SequencerLimits {
    fn default() -> Self {
        Self {
            reorder_window: Duration::from_millis(50),
            held_events: 1_024,
            held_bytes: 1024 * 1024,
            backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
        }
    }
}

/// What became of an event that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is delivered now.
    InOrder,
    /// It was delivered before, or is held back already.
    Duplicate,
    /// It came too early and waits.
    HeldBack,
    /// It came too early and does not fit; it will be read from the log.
    Forgotten,
}

/// The order of one room's events.
#[derive(Debug)]
pub struct Sequencer {
    limits: SequencerLimits,
    next: u64,
    held: BTreeMap<u64, RoomEvent>,
    held_bytes: usize,
    /// The newest event known to exist.
    known_head: u64,
    /// When the log has to be read; `None` while nothing is missing or a read is under way.
    read_at: Option<Instant>,
    reading: bool,
    failures: u32,
}

impl Sequencer {
    /// A sequencer that has delivered everything up to `head`.
    pub fn new(head: u64, limits: SequencerLimits) -> Self {
        Self {
            limits,
            next: head + 1,
            held: BTreeMap::new(),
            held_bytes: 0,
            known_head: head,
            read_at: None,
            reading: false,
            failures: 0,
        }
    }

    /// The newest event that was delivered.
    pub const fn delivered(&self) -> u64 {
        self.next - 1
    }

    /// Takes an event from either side. What can be delivered now is added to `ready`, in order.
    pub fn offer(&mut self, event: RoomEvent, now: Instant, ready: &mut Vec<RoomEvent>) -> Verdict {
        self.known_head = self.known_head.max(event.seq);
        if event.seq < self.next {
            return Verdict::Duplicate;
        }
        if event.seq > self.next {
            let verdict = self.hold_back(event);
            self.expect_missing(now + self.limits.reorder_window);
            return verdict;
        }
        self.next += 1;
        ready.push(event);
        while let Some(held) = self.held.remove(&self.next) {
            self.held_bytes -= held.frame.len();
            self.next += 1;
            ready.push(held);
        }
        self.read_at = None;
        self.failures = 0;
        self.expect_missing(now + self.limits.reorder_window);
        Verdict::InOrder
    }

    /// Takes note that the log goes up to `head`, which gives what is under way a last chance to come by itself.
    pub fn observe_head(&mut self, head: u64, now: Instant) {
        self.known_head = self.known_head.max(head);
        self.expect_missing(now + self.limits.reorder_window);
    }

    /// When the log has to be read, if nothing comes before.
    pub const fn read_at(&self) -> Option<Instant> {
        self.read_at
    }

    /// Begins a read of the log if it is time; what is read comes after the returned number. The read ends with
    /// [`Self::read_done`] or [`Self::read_failed`].
    pub fn begin_read(&mut self, now: Instant) -> Option<u64> {
        self.read_at.filter(|at| *at <= now)?;
        self.read_at = None;
        self.reading = true;
        Some(self.delivered())
    }

    /// Takes what a read brought, in order. Returns how many events it repaired.
    pub fn read_done(&mut self, events: Vec<RoomEvent>, now: Instant, ready: &mut Vec<RoomEvent>) -> u64 {
        self.reading = false;
        let before = self.next;
        for event in events {
            self.offer(event, now, ready);
        }
        if self.next == before {
            // What is known to exist is not in the log yet: this should not be, so do not hurry.
            self.back_off(now);
        } else if self.next <= self.known_head {
            self.read_at = Some(now);
        }
        self.next - before
    }

    /// The log could not be read: try again, less and less often, and skip nothing.
    pub fn read_failed(&mut self, now: Instant) {
        self.reading = false;
        self.back_off(now);
    }

    fn hold_back(&mut self, event: RoomEvent) -> Verdict {
        if self.held.contains_key(&event.seq) {
            return Verdict::Duplicate;
        }
        let full =
            self.held.len() >= self.limits.held_events || self.held_bytes + event.frame.len() > self.limits.held_bytes;
        if full {
            return Verdict::Forgotten;
        }
        self.held_bytes += event.frame.len();
        self.held.insert(event.seq, event);
        Verdict::HeldBack
    }

    fn expect_missing(&mut self, by: Instant) {
        let missing = self.next <= self.known_head;
        if missing && !self.reading && self.read_at.is_none() {
            self.read_at = Some(by);
        }
    }

    fn back_off(&mut self, now: Instant) {
        if self.next > self.known_head {
            return;
        }
        let wait = self.limits.backoff.saturating_mul(1 << self.failures.min(10)).min(self.limits.max_backoff);
        self.failures += 1;
        self.read_at = Some(now + wait);
    }
}

#[cfg(test)]
mod tests;
