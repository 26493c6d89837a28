//! What the registry counts. `docs/metrics.md` is the same for readers.

use chat_events::PresenceStatus;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Resync;

/// What the registry counts.
#[derive(Debug, Default)]
pub struct RegistryMetrics {
    /// Sessions that Redis is believed to have of this instance.
    pub sessions: Gauge,
    /// Sessions that are still to be written.
    pub pending: Gauge,
    /// Could Redis be written to at the last attempt?
    pub up: Gauge,
    /// Entries that a look found missing or left over.
    pub drift: Counter,
    /// Sessions of dead instances that this one took out.
    pub reaped_sessions: Counter,
    /// Times that this instance's lease was gone.
    pub lease_losses: Counter,
    /// Times that everything was written anew.
    resyncs: Family<ResyncLabels, Counter>,
    /// Users who came or went.
    presence: Family<PresenceLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResyncLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PresenceLabels {
    status: &'static str,
}

impl RegistryMetrics {
    /// Registers all of them under their documented names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("chat_registry_sessions", "Sessions of this instance in Redis", self.sessions.clone());
        registry.register("chat_registry_pending", "Sessions that are still to be written", self.pending.clone());
        registry.register("chat_registry_up", "Whether Redis could be written to", self.up.clone());
        registry.register("chat_registry_drift", "Entries found missing or left over", self.drift.clone());
        registry.register("chat_registry_reaped_sessions", "Dead instances' sessions", self.reaped_sessions.clone());
        registry.register("chat_registry_lease_losses", "Times that the lease was gone", self.lease_losses.clone());
        registry.register("chat_registry_resyncs", "Times that everything was written anew", self.resyncs.clone());
        registry.register("chat_presence_signals", "Signals that a user came or went", self.presence.clone());
        // So that the series are there before the first of them happens.
        for reason in Resync::ALL {
            self.of_resync(reason);
        }
        for status in [PresenceStatus::Online, PresenceStatus::Offline] {
            self.of_presence(status);
        }
    }

    /// How often everything was written anew for this reason.
    pub fn of_resync(&self, reason: Resync) -> Counter {
        self.resyncs.get_or_create_owned(&ResyncLabels { reason: reason.as_str() })
    }

    /// How many signals said this of a user.
    pub fn of_presence(&self, status: PresenceStatus) -> Counter {
        let status = match status {
            PresenceStatus::Online => "online",
            PresenceStatus::Offline => "offline",
        };
        self.presence.get_or_create_owned(&PresenceLabels { status })
    }
}
