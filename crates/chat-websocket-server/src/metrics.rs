//! The metrics of this server. Never a channel or user id as a label.
//!
//! What each means is in `docs/metrics.md`, which a test compares with what a running server shows.

mod latency;
mod live;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

pub use latency::DeliveryLatency;
pub(crate) use latency::Sampling;
pub use live::{Live, Queues};

use crate::protocol::{ClientFrame, FrameError};

/// What an instance counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Authenticated sessions.
    pub sessions: Gauge,
    /// Open rooms.
    pub rooms: Gauge,
    /// Events put in order.
    pub events: Counter,
    /// Events sent to sessions as they came, or queued for them; what was replayed to them is not counted.
    pub deliveries: Counter,
    /// Events that came again.
    pub duplicates: Counter,
    /// Events that came too early.
    pub out_of_order: Counter,
    /// Events that a read of the log let go out because others had not come from the bus, those included that were held
    /// back until then.
    pub repaired: Counter,
    /// Bytes of events that came too early and are held back.
    pub held_bytes: Gauge,
    /// Bytes of the newest events that rooms keep for those who come back.
    pub remembered_bytes: Gauge,
    /// Times that the bus had brought an event which the log does not have.
    pub disproved: Counter,
    /// Payloads from the bus that do not decode.
    pub malformed: Counter,
    /// Times a room's queue was full and payloads were dropped.
    pub overruns: Counter,
    /// Times that a hot room waited for more events.
    pub coalesced: Counter,
    /// Times the bus may have lost payloads.
    pub interruptions: Counter,
    /// Comparisons of heads with the log: queries, each about many rooms.
    pub reconciliations: Counter,
    /// Rooms that were compared with the log.
    pub heads_compared: Counter,
    /// Rooms that a comparison left out: storage had confirmed them a moment before, or only others were in doubt.
    pub heads_skipped: Counter,
    /// Users whose status was compared with storage.
    pub users_compared: Counter,
    /// Users who were sent away because of such a comparison: the signal that would have done it was lost.
    pub bans_found: Counter,
    /// Users of whom sessions were ended because of such a comparison, with tokens that were revoked unheard.
    pub revocations_found: Counter,
    /// Replays read from the log for sessions that came back.
    pub replays: Counter,
    /// Sessions that are being replayed to.
    pub replaying: Gauge,
    /// Pages read from the log for replays.
    pub page_reads: Counter,
    /// Pages that a replay found in memory, or got from a read that another one had begun.
    pub page_hits: Counter,
    /// Reads of the log for rooms with a hole.
    pub repair_reads: Counter,
    /// From commit to socket.
    pub delivery_latency: DeliveryLatency,
    /// Writes to sockets that took at least a part.
    pub writes: Counter,
    /// Frames that began in these writes.
    pub frames_written: Counter,
    /// Frames that clients sent.
    pub frames_received: Family<FrameLabels, Counter>,
    /// Sessions that ended because their client did not read fast enough.
    pub slow_consumers: Counter,
    /// Sessions that ended, by close code.
    pub closed: Family<CloseLabels, Counter>,
    /// Connections that were refused before the upgrade, by status.
    pub refused: Family<RefusedLabels, Counter>,
}

/// Labels of [`Metrics::frames_received`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FrameLabels {
    /// What kind of frame.
    pub r#type: &'static str,
}

/// What kind of frame a client sent: a type of the protocol, or why it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameType {
    Auth,
    Subscribe,
    Unsubscribe,
    Ping,
    Unknown,
    Bad,
    RateLimited,
}

impl FrameType {
    const ALL: [Self; 7] =
        [Self::Auth, Self::Subscribe, Self::Unsubscribe, Self::Ping, Self::Unknown, Self::Bad, Self::RateLimited];

    pub(crate) const fn of(frame: &Result<ClientFrame, FrameError>) -> Self {
        match frame {
            Ok(ClientFrame::Auth { .. }) => Self::Auth,
            Ok(ClientFrame::Subscribe { .. }) => Self::Subscribe,
            Ok(ClientFrame::Unsubscribe { .. }) => Self::Unsubscribe,
            Ok(ClientFrame::Ping { .. }) => Self::Ping,
            Err(FrameError::Unknown(_)) => Self::Unknown,
            Err(FrameError::Bad(_)) => Self::Bad,
        }
    }

    const fn labels(self) -> FrameLabels {
        let r#type = match self {
            Self::Auth => "AUTH",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Ping => "PING",
            Self::Unknown => "unknown",
            Self::Bad => "bad",
            Self::RateLimited => "rate_limited",
        };
        FrameLabels { r#type }
    }
}

/// Labels of [`Metrics::closed`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CloseLabels {
    /// The close code.
    pub code: u16,
}

/// Labels of [`Metrics::refused`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabels {
    /// The HTTP status.
    pub status: u16,
}

impl Metrics {
    /// A client sent a frame.
    pub(crate) fn received(&self, frame: FrameType) {
        self.frames_received.get_or_create(&frame.labels()).inc();
    }

    /// Registers all of them under their documented names.
    pub fn register(&self, registry: &mut Registry) {
        // Each exists before its first frame: what counts the increase of a counter does not see one that appears.
        for frame in FrameType::ALL {
            drop(self.frames_received.get_or_create(&frame.labels()));
        }
        let registry = registry.sub_registry_with_prefix("chat_websocket");
        registry.register("sessions", "Authenticated sessions", self.sessions.clone());
        registry.register("rooms", "Open rooms", self.rooms.clone());
        registry.register("events", "Events put in order", self.events.clone());
        registry.register(
            "deliveries",
            "Events sent to sessions or queued for them, but for replays",
            self.deliveries.clone(),
        );
        registry.register("duplicates", "Events that came again", self.duplicates.clone());
        registry.register("out_of_order", "Events that came too early", self.out_of_order.clone());
        registry.register(
            "repaired",
            "Events that a read of the log let go out, held back ones included",
            self.repaired.clone(),
        );
        registry.register("held_bytes", "Bytes of events that wait for earlier ones", self.held_bytes.clone());
        let remembered = "Bytes of the newest events that rooms keep for those who come back";
        registry.register("remembered_bytes", remembered, self.remembered_bytes.clone());
        registry.register("disproved", "Events from the bus that the log does not have", self.disproved.clone());
        registry.register("malformed", "Payloads from the bus that do not decode", self.malformed.clone());
        registry.register("overruns", "Times that payloads for a room were dropped", self.overruns.clone());
        registry.register("coalesced", "Times that a hot room waited for more events", self.coalesced.clone());
        registry.register("interruptions", "Times that the bus may have lost payloads", self.interruptions.clone());
        registry.register("reconciliations", "Queries that compare heads with the log", self.reconciliations.clone());
        registry.register("heads_compared", "Rooms compared with the log", self.heads_compared.clone());
        registry.register(
            "heads_skipped",
            "Rooms that a comparison left out, confirmed or not in doubt",
            self.heads_skipped.clone(),
        );
        registry.register(
            "users_compared",
            "Users whose status was compared with storage",
            self.users_compared.clone(),
        );
        registry.register("bans_found", "Users sent away whose ban the bus did not bring", self.bans_found.clone());
        registry.register(
            "revocations_found",
            "Users whose sessions had revoked tokens that the bus did not tell of",
            self.revocations_found.clone(),
        );
        registry.register("replays", "Replays read from the log", self.replays.clone());
        registry.register("replaying", "Sessions that are being replayed to", self.replaying.clone());
        registry.register("page_reads", "Pages read from the log for replays", self.page_reads.clone());
        registry.register("page_hits", "Pages that replays shared instead of reading them", self.page_hits.clone());
        registry.register("repair_reads", "Reads of the log for rooms with a hole", self.repair_reads.clone());
        registry.register(
            "delivery_latency_seconds",
            "From the commit of an event to the return of the write that sent it, sampled",
            self.delivery_latency.0.clone(),
        );
        registry.register("writes", "Writes to sockets", self.writes.clone());
        registry.register("frames_written", "Frames in these writes", self.frames_written.clone());
        registry.register("frames_received", "Frames that clients sent, by type", self.frames_received.clone());
        registry.register("slow_consumers", "Sessions ended for not reading in time", self.slow_consumers.clone());
        registry.register("closed", "Sessions that ended, by close code", self.closed.clone());
        registry.register("refused", "Connections refused before the upgrade, by status", self.refused.clone());
    }
}
