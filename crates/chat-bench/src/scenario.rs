//! What can be measured.

mod fanout;
mod idle;
mod interest;
mod latency;
mod neighbours;
mod scaling;
mod sends;
mod start;
mod storm;

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
    /// What an instance hears of rooms that it does not serve, and how fast it opens very many.
    Interest,
    /// Processor time per delivery from few rooms to many, and from small ones to large ones.
    Scaling,
    /// What a very large room takes from small ones.
    Neighbours,
    /// Everybody comes back at once after an instance died.
    Storm,
    /// From the start of a process to its readiness.
    Start,
}

impl Scenario {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fanout => "fanout",
            Self::Idle => "idle",
            Self::Latency => "latency",
            Self::Sends => "sends",
            Self::Interest => "interest",
            Self::Scaling => "scaling",
            Self::Neighbours => "neighbours",
            Self::Storm => "storm",
            Self::Start => "start",
        }
    }

    pub(crate) async fn run(self, bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
        match self {
            Self::Fanout => fanout::run(bench).await,
            Self::Idle => idle::run(bench).await,
            Self::Latency => latency::run(bench).await,
            Self::Sends => sends::run(bench).await,
            Self::Interest => interest::run(bench).await,
            Self::Scaling => scaling::run(bench).await,
            Self::Neighbours => neighbours::run(bench).await,
            Self::Storm => storm::run(bench).await,
            Self::Start => start::run(bench).await,
        }
    }
}
