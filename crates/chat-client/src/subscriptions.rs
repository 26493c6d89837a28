//! What the owner wants to hear and how far it has heard. No I/O: frames go in, verdicts come out.
//!
//! The one rule: an event is delivered if and only if its `seq` is the next one. What was seen is dropped; what lies
//! beyond a hole is dropped too, and the channel is asked for again from the last one that was delivered.

mod loading;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use chat_domain::{ChannelId, Epoch};
use tokio::time::Instant;

pub(crate) use self::loading::{Load, ResetVerdict};
use crate::frame::{ErrorFrame, Outgoing, Subscribed, Wish};

/// Most channels that a SUBSCRIBE or UNSUBSCRIBE names.
const MAX_CHANNELS_PER_FRAME: usize = 256;
/// So many holes without an event between them mean that this connection cannot be repaired.
const MAX_HOLES: u32 = 3;
/// The wait before a subscription is tried again that the server cannot serve now, unless it says how long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where in a channel's log the owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// `seq` of the last event that it has.
    pub seq: u64,
    /// The incarnation of the log that it is from, if known. Without it a restored log is not noticed.
    pub epoch: Option<Epoch>,
}

#[derive(Debug)]
pub(crate) struct Subscriptions {
    channels: BTreeMap<ChannelId, Subscription>,
    last_id: u64,
    /// When something is due, or earlier; `None` when it has to be looked up. It spares a look at each channel on every
    /// frame.
    known_due: Option<Option<Instant>>,
    /// How long an answer to a SUBSCRIBE may take, from the last sign of it.
    answer_timeout: Duration,
    /// Is what a RESET leaves out loaded over HTTP?
    loads: bool,
    /// What is to be loaded next; what is not wanted any more is passed over.
    to_load: VecDeque<Load>,
}

#[derive(Debug)]
struct Subscription {
    /// `None` until the first SUBSCRIBED of a subscription from now on.
    position: Option<Position>,
    phase: Phase,
    /// Holes since the last event that was delivered.
    holes: u32,
    /// Does the owner want to know who else is here?
    presence: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// To be asked for, but not before this.
    Wanted {
        not_before: Option<Instant>,
    },
    /// Asked for with this id, or reset by the server of its own accord; not confirmed yet. The last sign of an answer
    /// came, or it was asked for, at `heard`.
    Asked {
        id: Option<u64>,
        reset: bool,
        heard: Instant,
    },
    /// Reset, and what is missing comes over HTTP, page by page; after that it is wanted.
    Loading {
        ticket: u64,
    },
    Live,
}

/// What becomes of an event, or of a confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the next one.
    Deliver,
    /// It was seen, or nobody wants it, or what comes before it is on its way.
    Drop,
    /// Something before it is missing: the channel is to be asked for again.
    Hole,
    /// Holes again and again: another connection may do better.
    Broken,
}

impl Subscriptions {
    /// `loads`: what a RESET leaves out is loaded over HTTP.
    pub(crate) fn new(answer_timeout: Duration, loads: bool) -> Self {
        let (channels, to_load) = (BTreeMap::new(), VecDeque::new());
        Self { channels, last_id: 0, known_due: None, answer_timeout, loads, to_load }
    }

    /// Wants a channel, after `from` or from now on. A channel that is wanted already starts anew.
    pub(crate) fn subscribe(&mut self, channel: ChannelId, from: Option<Position>) {
        let phase = Phase::Wanted { not_before: None };
        self.known_due = None;
        self.channels.insert(channel, Subscription { position: from, phase, holes: 0, presence: false });
    }

    /// Wants to know who else is in a channel that is wanted.
    pub(crate) fn watch(&mut self, channel: ChannelId) {
        if let Some(subscription) = self.channels.get_mut(&channel) {
            subscription.presence = true;
        }
    }

    /// Wants a channel no longer. False if it was not wanted.
    pub(crate) fn remove(&mut self, channel: ChannelId) -> bool {
        self.channels.remove(&channel).is_some()
    }

    /// The connection is gone: all has to be asked for again on the next one.
    pub(crate) fn disconnected(&mut self) {
        self.known_due = None;
        self.to_load.clear();
        for subscription in self.channels.values_mut() {
            subscription.phase = Phase::Wanted { not_before: None };
            subscription.holes = 0;
        }
    }

    /// When the next channel is to be asked for, or an answer is overdue. Perhaps earlier: then nothing is due yet.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Instant> {
        let due = |subscription: &Subscription| match subscription.phase {
            Phase::Wanted { not_before } => Some(not_before.unwrap_or(now)),
            Phase::Asked { heard, .. } => Some(heard + self.answer_timeout),
            Phase::Loading { .. } | Phase::Live => None,
        };
        *self.known_due.get_or_insert_with(|| self.channels.values().filter_map(due).min())
    }

    /// Has an answer not come in time?
    pub(crate) fn is_unanswered(&self, now: Instant) -> bool {
        let overdue = |subscription: &Subscription| matches!(subscription.phase, Phase::Asked { heard, .. } if heard + self.answer_timeout <= now);
        self.channels.values().any(overdue)
    }

    /// The SUBSCRIBE frames that ask for all that is due, each at most `max_frame_bytes` long.
    pub(crate) fn ask(&mut self, now: Instant, max_frame_bytes: usize) -> Vec<String> {
        let is_due =
            |phase: &Phase| matches!(phase, Phase::Wanted { not_before } if not_before.is_none_or(|at| at <= now));
        let due: Vec<_> = self.channels.iter_mut().filter(|(_, subscription)| is_due(&subscription.phase)).collect();
        let wishes: Vec<_> = due.iter().map(|(channel, subscription)| subscription.wish(**channel)).collect();

        let mut frames = Vec::new();
        let mut asked = due.into_iter();
        let envelope = Outgoing::Subscribe { id: u64::MAX, channels: &[] }.to_json().len();
        for wishes in wishes.chunks(per_frame(&wishes, envelope, max_frame_bytes)) {
            self.last_id += 1;
            let id = self.last_id;
            for (_, subscription) in asked.by_ref().take(wishes.len()) {
                subscription.phase = Phase::Asked { id: Some(id), reset: false, heard: now };
            }
            frames.push(Outgoing::Subscribe { id, channels: wishes }.to_json());
        }
        self.known_due = None;
        frames
    }

    /// The UNSUBSCRIBE frames for these channels, each at most `max_frame_bytes` long.
    pub(crate) fn unsubscribe_frames(&mut self, channels: &[ChannelId], max_frame_bytes: usize) -> Vec<String> {
        let frame = |channel_ids: &_| {
            self.last_id += 1;
            Outgoing::Unsubscribe { id: self.last_id, channel_ids }.to_json()
        };
        let envelope = Outgoing::Unsubscribe { id: u64::MAX, channel_ids: &[] }.to_json().len();
        channels.chunks(per_frame(channels, envelope, max_frame_bytes)).map(frame).collect()
    }

    /// An event came.
    pub(crate) fn event(&mut self, channel: ChannelId, seq: u64, now: Instant) -> Verdict {
        let Some(subscription) = self.channels.get_mut(&channel) else { return Verdict::Drop };
        if let Phase::Asked { heard, .. } = &mut subscription.phase {
            *heard = now;
        }
        // Before the first confirmation the position is not known; what comes then is older than it.
        let Some(position) = &mut subscription.position else { return Verdict::Drop };
        if seq <= position.seq {
            return Verdict::Drop;
        }
        if seq == position.seq + 1 {
            position.seq = seq;
            subscription.holes = 0;
            return Verdict::Deliver;
        }
        match subscription.phase {
            // The answer to SUBSCRIBE brings what is missing.
            Phase::Wanted { .. } | Phase::Loading { .. } | Phase::Asked { id: Some(_), .. } => Verdict::Drop,
            Phase::Live | Phase::Asked { id: None, .. } => {
                self.known_due = None;
                subscription.hole()
            }
        }
    }

    /// A SUBSCRIBED came. An answer to an older SUBSCRIBE is dropped.
    pub(crate) fn subscribed(&mut self, frame: &Subscribed) -> Verdict {
        let Some(subscription) = self.channels.get_mut(&frame.channel_id) else { return Verdict::Drop };
        let Phase::Asked { id, reset, .. } = subscription.phase else { return Verdict::Drop };
        if frame.id != id {
            return Verdict::Drop;
        }
        let head = Position { seq: frame.head_seq, epoch: Some(frame.epoch) };
        let position = *subscription.position.get_or_insert(head);
        if position.seq < head.seq && !reset {
            self.known_due = None;
            return subscription.hole();
        }
        // Live events may have come before the confirmation, so the position may be beyond the head.
        subscription.position = Some(if reset { head } else { Position { epoch: head.epoch, ..position } });
        subscription.phase = Phase::Live;
        Verdict::Deliver
    }

    /// An ERROR came. Which channels does it refuse for good? Those that can be had later are put off. `None` if the
    /// error answers no SUBSCRIBE. One without an id that says "later" may answer any.
    pub(crate) fn refused(&mut self, frame: &ErrorFrame, now: Instant) -> Option<Vec<ChannelId>> {
        if frame.id.is_none() && !frame.retryable {
            return None;
        }
        let answered = |channel: &ChannelId, subscription: &Subscription| {
            matches!(subscription.phase, Phase::Asked { id: Some(asked), .. } if frame.id.is_none_or(|id| id == asked))
                && frame.channel_id.is_none_or(|refused| refused == *channel)
        };
        let channels: Vec<_> =
            self.channels.iter().filter(|(id, s)| answered(id, s)).map(|(channel, _)| *channel).collect();
        if channels.is_empty() {
            return None;
        }
        if !frame.retryable {
            self.channels.retain(|channel, _| !channels.contains(channel));
            return Some(channels);
        }
        self.known_due = None;
        let not_before = Some(now + frame.retry_after_ms.map_or(RETRY_AFTER, Duration::from_millis));
        for channel in &channels {
            if let Some(subscription) = self.channels.get_mut(channel) {
                subscription.phase = Phase::Wanted { not_before };
            }
        }
        Some(Vec::new())
    }
}

impl Subscription {
    fn wish(&self, channel_id: ChannelId) -> Wish {
        Wish {
            channel_id,
            after_seq: self.position.map(|position| position.seq),
            epoch: self.position.and_then(|position| position.epoch),
            presence: self.presence,
        }
    }

    fn hole(&mut self) -> Verdict {
        self.holes += 1;
        self.phase = Phase::Wanted { not_before: None };
        if self.holes > MAX_HOLES { Verdict::Broken } else { Verdict::Hole }
    }
}

/// So many of these fit into a frame, the longest taken for all; at least one.
fn per_frame<T: serde::Serialize>(items: &[T], envelope: usize, max_frame_bytes: usize) -> usize {
    let length = |item: &T| serde_json::to_string(item).map_or(0, |json| json.len() + 1);
    let longest = items.iter().map(length).max().unwrap_or(1);
    (max_frame_bytes.saturating_sub(envelope) / longest).clamp(1, MAX_CHANNELS_PER_FRAME)
}

#[cfg(test)]
mod tests;
