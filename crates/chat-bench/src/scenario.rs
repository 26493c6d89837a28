//! What can be measured.

mod fanout;
mod idle;
mod latency;
mod sends;

use clap::ValueEnum;

use crate::failure::Failure;
use crate::figure::Figure;
use crate::world::Bench;

/// Part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Processor time per delivery in one large room, beside the bare writes.
    Fanout,
    /// Memory of a connection that does nothing.
    Idle,
    /// From the HTTP request to the WebSocket, at a steady rate.
    Latency,
    /// Durable messages per second.
    Sends,
}

impl Scenario {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fanout => "fanout",
            Self::Idle => "idle",
            Self::Latency => "latency",
            Self::Sends => "sends",
        }
    }

    pub(crate) async fn run(self, bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
        match self {
            Self::Fanout => fanout::run(bench).await,
            Self::Idle => idle::run(bench).await,
            Self::Latency => latency::run(bench).await,
            Self::Sends => sends::run(bench).await,
        }
    }
}
