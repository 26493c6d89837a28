//! How much of everything.

use std::time::Duration;

use serde::Serialize;

/// The size of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Scale {
    /// In the room of `fanout`, and in all rooms of `latency`.
    pub(crate) connections: usize,
    /// Of `idle`, `scaling` and the large room of `neighbours`: many, so that what the process needs anyhow does not count.
    pub(crate) idle_connections: usize,
    /// Of `storm`, all on the instance that dies.
    pub(crate) storm_connections: usize,
    /// That are opened at once on one instance, in `interest`.
    pub(crate) rooms: usize,
    /// Messages per second, of the sweep in `latency`.
    pub(crate) rates: &'static [u32],
    /// Measurements of each, by turns, whose median counts.
    pub(crate) rounds: usize,
    /// One measurement of `fanout`, of `neighbours` and of the sweep; two are one of `scaling`.
    #[serde(with = "humantime_text")]
    pub(crate) round: Duration,
    /// One measurement of `latency`, `sends` and `interest`.
    #[serde(with = "humantime_text")]
    pub(crate) measurement: Duration,
    /// The live traffic of `storm`.
    #[serde(with = "humantime_text")]
    pub(crate) storm: Duration,
}

/// The traffic of a storm has to outlast it, so it is longer than what else is measured.
const STORM: u32 = 6;

const FULL: Scale = Scale {
    connections: 1_000,
    idle_connections: 10_000,
    storm_connections: 15_000,
    rooms: 50_000,
    rates: &[50, 100, 200, 400, 800],
    rounds: 5,
    round: Duration::from_secs(4),
    measurement: Duration::from_secs(30),
    storm: Duration::from_secs(20),
};
const QUICK: Scale = Scale {
    connections: 300,
    idle_connections: 3_000,
    storm_connections: 3_000,
    rooms: 5_000,
    rates: &[50, 200, 800],
    rounds: 3,
    round: Duration::from_secs(2),
    measurement: Duration::from_secs(8),
    storm: Duration::from_secs(8),
};

impl Scale {
    pub(crate) fn new(quick: bool, connections: Option<u32>, duration: Option<Duration>) -> Self {
        let scale = if quick { QUICK } else { FULL };
        let connections = connections.and_then(|count| usize::try_from(count).ok());
        Self {
            connections: connections.unwrap_or(scale.connections),
            idle_connections: connections.unwrap_or(scale.idle_connections),
            storm_connections: connections.unwrap_or(scale.storm_connections),
            rooms: connections.unwrap_or(scale.rooms),
            round: duration.unwrap_or(scale.round),
            measurement: duration.unwrap_or(scale.measurement),
            storm: duration.map_or(scale.storm, |duration| duration * STORM),
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
