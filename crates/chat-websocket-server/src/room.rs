//! A room: the live side of a channel in this instance.
//!
//! One task per open room owns its `Sequencer` and its local sessions, so that no room waits for another. It is fed
//! through its [`Inbox`], hears the room's topic as long as it lives, and ends some time after its last session left.

mod confirmation;
pub mod control;
mod delivery;
mod departures;
pub mod event;
mod heat;
mod inbox;
mod open;
mod presence;
mod recent;
mod replay;
pub mod sequencer;
mod share;
mod subscribers;
mod turn;

use std::{sync::Arc, time::Duration};

use chat_domain::{ChannelId, Clock, Epoch, ports::Head};
use chat_events::bus::{Interest, Subscriber};
use common_logging::trace::Tracer;
use common_server::Scope;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};

pub use confirmation::Confirmation;
pub use inbox::{Busy, Inbox};
pub use recent::RecentLimits;
pub(crate) use replay::Replays;
pub use sequencer::SequencerLimits;

use crate::{
    inquiries::{Answer, Inquiries},
    metrics::Metrics,
    protocol::CloseReason,
    reader::LogReader,
    registry::Registry,
};
use control::Control;
use open::OpenRoom;

/// How often storage may say that a room's channel is not there, before it is believed.
pub(crate) const ABSENCES: u32 = 5;
/// How long a room that opens waits for storage before it asks again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The bounds of a room.
#[derive(Clone, Copy, Debug)]
pub struct RoomLimits {
    /// Most events that are replayed to a session; who has missed more loads the history.
    pub replay: u64,
    /// How long a room stays open after its last session left.
    pub linger: Duration,
    /// How long a room waits for its subscription before it opens without, and relies on the reconciler.
    pub subscribe_timeout: Duration,
    /// How long a hot room collects events for one write; zero for never.
    pub coalesce: Duration,
    /// Whether holes are filled from the log. Always true, but for tests that prove that they notice a loss.
    pub repair: bool,
    /// Of its sequencer.
    pub sequencer: SequencerLimits,
    /// Of its newest events in memory.
    pub recent: RecentLimits,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            replay: 5_000,
            linger: Duration::from_secs(15),
            subscribe_timeout: Duration::from_secs(2),
            coalesce: Duration::from_millis(8),
            repair: true,
            sequencer: SequencerLimits::default(),
            recent: RecentLimits::default(),
        }
    }
}

/// The way to a room, for those who are not its task.
#[derive(Debug, Default)]
pub struct RoomHandle {
    /// Its queue.
    pub inbox: Arc<Inbox>,
    /// How far it is; `None` while it opens.
    pub status: Mutex<Option<RoomStatus>>,
    /// Since when it is known to have heard of everything.
    pub confirmation: Mutex<Confirmation>,
}

/// How far a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomStatus {
    /// The newest event that it delivered.
    pub delivered: u64,
    /// The incarnation of the log.
    pub epoch: Epoch,
    /// How many sessions of this instance have it open.
    pub sessions: usize,
}

/// What every room of an instance works with.
#[derive(Clone)]
pub struct RoomContext {
    /// The log.
    pub reader: Arc<LogReader>,
    /// Where the log ends.
    pub inquiries: Arc<Inquiries>,
    /// Where rooms and replays run, and what ends them.
    pub tasks: Scope,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where traces go.
    pub tracer: Tracer,
    /// Asks for a comparison of heads with the log, of the rooms that are due.
    pub compare_heads: Arc<tokio::sync::Notify>,
    /// Who is here, on any instance.
    pub registry: Arc<Registry>,
    /// The hearing side of the bus.
    pub subscriber: Arc<dyn Subscriber>,
    /// The bounds.
    pub limits: RoomLimits,
}

/// A room that is about to open.
pub struct Room {
    /// The channel.
    pub channel_id: ChannelId,
    /// The way to it.
    pub handle: Arc<RoomHandle>,
    /// Where the log stood when the first session was let in: events after it are delivered, so that none that ends its
    /// right to be here goes unseen.
    pub since: Head,
    /// Whether it waits until its topic is heard; it need not where that is known to be in vain.
    pub waits: bool,
    /// That its topic is heard.
    pub interest: Interest,
    /// What it works with.
    pub context: RoomContext,
}

impl Room {
    /// Opens the room and serves it until `may_end` lets it end, or the instance stops.
    pub async fn run(self, may_end: impl Fn() -> bool) {
        let stop = self.context.tasks.stopping().clone();
        self.context.metrics.rooms.inc();
        let metrics = Arc::clone(&self.context.metrics);
        // Reads and timers inside are safe to drop: whatever they would bring is in the log.
        let served = async {
            match self.open().await {
                Ok(open) => open.serve(may_end).await,
                Err(absent) => absent.send_away(may_end).await,
            }
        };
        tokio::select! {
            () = served => {}
            () = stop.cancelled() => {}
        }
        metrics.rooms.dec();
    }

    /// Subscribes first, and only then reads where the log stands: what is published from then on is heard.
    async fn open(self) -> Result<OpenRoom, Absent> {
        // Without Redis the room opens all the same; the reconciler finds what it does not hear.
        if self.waits {
            let _ = tokio::time::timeout(self.context.limits.subscribe_timeout, self.interest.heard()).await;
        }
        let Some((head, read_at)) = self.read_head().await else { return Err(Absent { handle: self.handle }) };
        self.handle.confirmation.lock().confirm(read_at);
        if head.epoch != self.since.epoch || !self.context.limits.repair {
            return Ok(OpenRoom::new(self, head));
        }
        let since = self.since;
        let mut room = OpenRoom::new(self, since);
        room.learn_head(head);
        Ok(room)
    }

    /// Where the log stands, and when the read began that said so; `None` if there is no such log.
    async fn read_head(&self) -> Option<(Head, Instant)> {
        let mut wait = self.context.limits.sequencer.backoff;
        let mut absences = 0;
        while absences < ABSENCES {
            match self.context.inquiries.heads.ask(self.channel_id, PATIENCE).await {
                Some(Answer { answer: Some(head), asked_at }) => return Some((head, asked_at)),
                Some(Answer { answer: None, .. }) => absences += 1,
                // Why is in the log already, once for all that were asked for together.
                None => debug!(channel.id = %self.channel_id, "a room cannot open yet"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(self.context.limits.sequencer.max_backoff);
        }
        warn!(channel.id = %self.channel_id, "a room cannot open: its log is not there any more");
        None
    }
}

/// A room whose channel was there when its first session was let in, and is not any more: storage was restored.
struct Absent {
    handle: Arc<RoomHandle>,
}

impl Absent {
    /// Sends away who waits, until nobody does: who comes back is told by storage what there is.
    async fn send_away(self, may_end: impl Fn() -> bool) {
        while !may_end() {
            for control in self.handle.inbox.take().controls {
                if let Control::Join(join) = control {
                    join.session.outbox.close(CloseReason::TryAgainLater);
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
