//! What a RESET leaves out. Without HTTP the subscription goes on from the head, and the owner loads what it wants. With
//! HTTP it stays where it is, everything that the log still has is loaded page by page, and then it is asked for again: the
//! server replays what came meanwhile. Whatever fails is asked for again too, and the server says RESET anew.

use chat_domain::{ChannelId, Epoch};
use tokio::time::Instant;

use super::{Phase, Position, RETRY_AFTER, Subscription, Subscriptions};
use crate::{frame::Reset, item::ResetReason};

/// A page to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) channel: ChannelId,
    /// Of which load of the channel it is: an older one may still be on its way.
    ticket: u64,
    pub(crate) after_seq: u64,
}

/// What becomes of a RESET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetVerdict {
    /// Nobody wants the channel, or all that is missing will come.
    Keep,
    /// The owner has to know: the next event that comes is the one after this.
    Tell { after_seq: u64 },
}

impl Subscriptions {
    /// A RESET came.
    pub(crate) fn reset(&mut self, frame: &Reset, now: Instant) -> ResetVerdict {
        let Some(subscription) = self.channels.get_mut(&frame.channel_id) else { return ResetVerdict::Keep };
        self.known_due = None;
        let Some(position) = subscription.position.filter(|_| self.loads) else {
            return subscription.skip_to_head(frame, now);
        };
        let same_log =
            frame.reason != ResetReason::EpochChanged && position.epoch.is_none_or(|epoch| epoch == frame.epoch);
        let before_oldest = frame.oldest_seq.saturating_sub(1);
        let after_seq = if same_log { position.seq.max(before_oldest) } else { before_oldest };
        subscription.position = Some(Position { seq: after_seq, epoch: Some(frame.epoch) });
        self.last_id += 1;
        subscription.phase = Phase::Loading { ticket: self.last_id };
        self.to_load.push_back(Load { channel: frame.channel_id, ticket: self.last_id, after_seq });
        if same_log && after_seq == position.seq { ResetVerdict::Keep } else { ResetVerdict::Tell { after_seq } }
    }

    /// The next page to load, if any.
    pub(crate) fn next_load(&mut self) -> Option<Load> {
        while let Some(load) = self.to_load.pop_front() {
            if self.loading(&load).is_some() {
                return Some(load);
            }
        }
        None
    }

    /// A page came. False if it is of no use: it is not wanted any more, or the log is another one by now, or parts of it
    /// went away, which the server is asked about.
    pub(crate) fn page(&mut self, load: &Load, epoch: Epoch, oldest_seq: u64) -> bool {
        let Some(subscription) = self.loading(load) else { return false };
        let fits = subscription
            .position
            .is_some_and(|position| position.epoch == Some(epoch) && oldest_seq <= position.seq.saturating_add(1));
        if !fits {
            subscription.phase = Phase::Wanted { not_before: None };
            self.known_due = None;
        }
        fits
    }

    /// The events of the page are dealt with.
    pub(crate) fn page_end(&mut self, load: &Load, has_next: bool, now: Instant) {
        let Some(subscription) = self.loading(load) else { return };
        let after_seq = subscription.position.map_or(0, |position| position.seq);
        if has_next && after_seq == load.after_seq {
            return self.load_failed(load, now);
        }
        if has_next {
            return self.to_load.push_back(Load { after_seq, ..*load });
        }
        subscription.phase = Phase::Wanted { not_before: None };
        self.known_due = None;
    }

    /// A page did not come, or did not lead on.
    pub(crate) fn load_failed(&mut self, load: &Load, now: Instant) {
        let Some(subscription) = self.loading(load) else { return };
        subscription.phase = Phase::Wanted { not_before: Some(now + RETRY_AFTER) };
        self.known_due = None;
    }

    fn loading(&mut self, load: &Load) -> Option<&mut Subscription> {
        let subscription = self.channels.get_mut(&load.channel)?;
        (subscription.phase == Phase::Loading { ticket: load.ticket }).then_some(subscription)
    }
}

impl Subscription {
    fn skip_to_head(&mut self, frame: &Reset, now: Instant) -> ResetVerdict {
        self.position = Some(Position { seq: frame.head_seq, epoch: Some(frame.epoch) });
        match &mut self.phase {
            Phase::Asked { reset, heard, .. } => (*reset, *heard) = (true, now),
            Phase::Live => self.phase = Phase::Asked { id: None, reset: true, heard: now },
            Phase::Wanted { .. } | Phase::Loading { .. } => {}
        }
        ResetVerdict::Tell { after_seq: frame.head_seq }
    }
}
