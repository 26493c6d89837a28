//! The order of a room's events: in order, each once, no hole.
//!
//! Pub/sub may lose, repeat and permute; the log does not. The sequencer does no I/O and is told the time. It is offered
//! what comes from either side and says when the log has to be read:
//!
//! - the next number is delivered, with all that it frees from being held back;
//! - a number that was delivered is a duplicate;
//! - a later number is held back, within bounds: what does not fit is forgotten, the log has it;
//! - when the missing ones do not come within the reorder window, the log is to be read from where the hole begins.
//!
//! What storage says exists is waited for, however long it takes, or until the room learns that the log no longer has it.
//! What the bus alone says exists is forgotten when a read that began later came to the end of the log without it: it was
//! forged or corrupted.

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

/// What a read of the log did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repair {
    /// Events that it delivered, those that it freed from being held back included.
    pub events: u64,
    /// Something that the bus had brought does not exist.
    pub disproved: bool,
}

/// The order of one room's events.
#[derive(Debug)]
pub struct Sequencer {
    limits: SequencerLimits,
    next: u64,
    held: BTreeMap<u64, RoomEvent>,
    held_bytes: usize,
    /// The newest event that storage knows.
    known_head: u64,
    /// The newest event that the bus brought.
    heard_head: u64,
    /// The same when the read that is under way began.
    heard_before_read: u64,
    /// The newest event that the bus brought since then.
    heard_since_read: u64,
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
            heard_head: head,
            heard_before_read: head,
            heard_since_read: 0,
            read_at: None,
            reading: false,
            failures: 0,
        }
    }

    /// The newest event that was delivered.
    pub const fn delivered(&self) -> u64 {
        self.next - 1
    }

    /// Bytes that are held back.
    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes an event from the bus. What can be delivered now is added to `ready`, in order.
    pub fn offer(&mut self, event: RoomEvent, now: Instant, ready: &mut Vec<RoomEvent>) -> Verdict {
        self.heard_head = self.heard_head.max(event.seq);
        self.heard_since_read = self.heard_since_read.max(event.seq);
        self.place(event, now, ready)
    }

    fn place(&mut self, event: RoomEvent, now: Instant, ready: &mut Vec<RoomEvent>) -> Verdict {
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
        // What storage says exists has had its time: a trickle of events does not give it more.
        if self.next > self.known_head {
            self.read_at = None;
            self.failures = 0;
        }
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
        self.heard_before_read = self.heard_head;
        self.heard_since_read = 0;
        Some(self.delivered())
    }

    /// Takes what a read brought, in order, and where the log ended if the read came to its end.
    pub fn read_done(
        &mut self,
        events: Vec<RoomEvent>,
        log_end: Option<u64>,
        now: Instant,
        ready: &mut Vec<RoomEvent>,
    ) -> Repair {
        self.reading = false;
        let before = self.next;
        for event in events {
            self.known_head = self.known_head.max(event.seq);
            self.place(event, now, ready);
        }
        let disproved = log_end.is_some_and(|end| self.disprove(end));
        if !self.is_missing() {
            self.read_at = None;
            self.failures = 0;
        } else if self.next > before {
            self.read_at = Some(now);
            self.failures = 0;
        } else {
            // What is known to exist is not in the log yet: this should not be, so do not hurry.
            self.back_off(now);
        }
        Repair { events: self.next - before, disproved }
    }

    /// The log ended here: what was heard before the read and lies behind that does not exist. Forgets all that is held
    /// back behind it; what was heard during the read, and may exist, is read.
    fn disprove(&mut self, log_end: u64) -> bool {
        let end = log_end.max(self.known_head);
        if self.heard_before_read <= end {
            return false;
        }
        self.heard_head = self.heard_since_read.max(end);
        let dropped = self.held.split_off(&end.saturating_add(1));
        self.held_bytes -= dropped.values().map(|event| event.frame.len()).sum::<usize>();
        true
    }

    /// Forgets what is held back, to make room: it will be read from the log.
    pub fn forget_held(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
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

    fn is_missing(&self) -> bool {
        self.next <= self.known_head.max(self.heard_head)
    }

    fn expect_missing(&mut self, by: Instant) {
        if self.is_missing() && !self.reading && self.read_at.is_none() {
            self.read_at = Some(by);
        }
    }

    fn back_off(&mut self, now: Instant) {
        if !self.is_missing() {
            return;
        }
        let wait = self.limits.backoff.saturating_mul(1 << self.failures.min(10)).min(self.limits.max_backoff);
        self.failures += 1;
        self.read_at = Some(now + wait);
    }
}

#[cfg(test)]
mod tests;
