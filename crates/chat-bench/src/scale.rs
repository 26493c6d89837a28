//! How much of everything.

use std::time::Duration;

use serde::Serialize;

/// The size of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Scale {
    /// In the room of `fanout`, and in all rooms of `latency`.
    pub(crate) connections: usize,
    /// Of `idle`: many, so that what the process needs anyhow does not count.
    pub(crate) idle_connections: usize,
    /// Pairs of measurements, reference and system, whose median ratio counts.
    pub(crate) rounds: usize,
    /// One measurement of `fanout`, and of the bare inserts.
    #[serde(with = "humantime_text")]
    pub(crate) round: Duration,
    /// One measurement of `latency` and `sends`.
    #[serde(with = "humantime_text")]
    pub(crate) measurement: Duration,
}

const FULL: Scale = Scale {
    connections: 1_000,
    idle_connections: 10_000,
    rounds: 5,
    round: Duration::from_secs(4),
    measurement: Duration::from_secs(30),
};
const QUICK: Scale = Scale {
    connections: 300,
    idle_connections: 3_000,
    rounds: 3,
    round: Duration::from_secs(2),
    measurement: Duration::from_secs(8),
};

impl Scale {
    pub(crate) fn new(quick: bool, connections: Option<u32>, duration: Option<Duration>) -> Self {
        let scale = if quick { QUICK } else { FULL };
        let connections = connections.and_then(|count| usize::try_from(count).ok());
        Self {
            connections: connections.unwrap_or(scale.connections),
            idle_connections: connections.unwrap_or(scale.idle_connections),
            round: duration.unwrap_or(scale.round),
            measurement: duration.unwrap_or(scale.measurement),
            ..scale
        }
    }
}

mod humantime_text {
    use std::time::Duration;

    pub(super) fn serialize<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*duration))
    }
}
