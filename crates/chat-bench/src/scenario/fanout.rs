//! P1 and P2: processor time per delivery in one large room, whole instance beside bare writes of the same bytes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::cores::Cores;
use crate::failure::{Failure, While};
use crate::figure::{Bound, Counts, Figure};
use crate::fleet::tally::Tally;
use crate::fleet::{Fleet, Seat};
use crate::http::Sender;
use crate::quantity::{Quantity, median};
use crate::raw::RawServer;
use crate::usage::{Meter, Usage};
use crate::world::{Bench, Storage, TEXT_BYTES, World};

/// Messages at once where there is more than one.
const BURST: usize = 32;

/// How messages come.
struct Shape {
    what: &'static str,
    target: &'static str,
    /// Times the reference.
    most: f64,
    burst: usize,
}

const SHAPES: [Shape; 2] = [
    Shape { what: "one event at a time", target: "P1", most: 1.25, burst: 1 },
    Shape { what: "bursts", target: "P2", most: 1.5, burst: BURST },
];
/// Of P2, per core.
const DELIVERIES_PER_SECOND: f64 = 1e6;

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.spare_the_measured()?;
    let core = bench.cores.measured();
    let mut world = World::start(bench, Storage::Sqlite, Some(core)).await?;
    let mut system = Subject::system(&mut world, bench.scale.connections).await?;
    // Warms up, and tells how long an event is.
    system.round(BURST).await?;
    let payload = system.fleet.tally.payload();
    let mut raw = Subject::raw(core, payload, bench.scale.connections).await?;
    raw.round(BURST).await?;

    let mut figures = Vec::new();
    for shape in SHAPES {
        let pairs = pairs(&shape, &mut raw, &mut system, bench, &mut world).await?;
        figures.extend(pairs.figures(&shape, payload)?);
    }
    Ok(figures)
}

/// Measures both by turns, so that what disturbs the machine disturbs both.
async fn pairs(
    shape: &Shape,
    raw: &mut Subject,
    system: &mut Subject,
    bench: &Bench,
    world: &mut World,
) -> Result<Pairs, Failure> {
    let before = Written::of(world).await?;
    let mut pairs = Pairs::default();
    for number in 1..=bench.scale.rounds {
        let reference = raw.measure(shape.burst, bench.scale.round, &bench.cores).await?;
        let measured = system.measure(shape.burst, bench.scale.round, &bench.cores).await?;
        let (of_raw, of_system) = (reference.microseconds(), measured.microseconds());
        eprintln!("  {} {number}/{}: raw {of_raw:.2} µs, system {of_system:.2} µs", shape.what, bench.scale.rounds);
        pairs.raw.push(reference);
        pairs.system.push(measured);
    }
    pairs.written = Written::of(world).await?.since(before);
    Ok(pairs)
}

/// What is measured, with the connections to it.
struct Subject {
    fleet: Fleet,
    source: Source,
    process: u32,
}

/// What makes messages come.
enum Source {
    Raw(RawServer),
    Http(Vec<Sender>),
}

impl Subject {
    async fn system(world: &mut World, connections: usize) -> Result<Self, Failure> {
        let room = world.user.api.create_channel("PUBLIC", "fanout", &[]).await;
        let instance = world.instance()?;
        let seats = (0..connections).map(|number| Seat::in_room(instance, &world.token(number), room)).collect();
        let fleet = Fleet::join(seats, Tally::default()).await?;
        let senders = Sender::several(BURST, world.message_server()?, &world.user.token, &[room]).await?;
        Ok(Self { fleet, source: Source::Http(senders), process: world.instance_id() })
    }

    async fn raw(core: usize, payload: usize, connections: usize) -> Result<Self, Failure> {
        let server = RawServer::start(core, payload)?;
        let seats = vec![Seat::without_protocol(server.address); connections];
        let (process, fleet) = (server.id(), Fleet::join(seats, Tally::default()).await?);
        Ok(Self { fleet, source: Source::Raw(server), process })
    }

    async fn measure(&mut self, burst: usize, duration: Duration, cores: &Cores) -> Result<Sample, Failure> {
        let before = self.fleet.tally.delivered();
        let (meter, began) = (Meter::start(cores, self.process)?, Instant::now());
        let mut events = 0;
        while began.elapsed() < duration {
            self.round(burst).await?;
            events += burst as u64;
        }
        let counts = Counts { events, deliveries: self.fleet.tally.delivered() - before };
        Ok(Sample { counts, usage: meter.end()? })
    }

    /// Has so many messages come at once and waits until every connection has all of them.
    async fn round(&mut self, burst: usize) -> Result<(), Failure> {
        let goal = self.fleet.goal(burst);
        match &mut self.source {
            Source::Raw(server) => server.burst(burst, self.fleet.size())?,
            Source::Http(senders) => {
                let text = "x".repeat(TEXT_BYTES);
                try_join_all(senders.iter_mut().take(burst).map(|sender| sender.send(&text))).await?;
            }
        }
        self.fleet.tally.reach(goal).await
    }
}

/// One measurement.
struct Sample {
    counts: Counts,
    usage: Usage,
}

impl Sample {
    /// Processor time per delivery.
    fn microseconds(&self) -> f64 {
        self.usage.cpu.as_secs_f64() * 1e6 / self.counts.deliveries as f64
    }
}

/// The measurements of both in turn.
#[derive(Default)]
struct Pairs {
    raw: Vec<Sample>,
    system: Vec<Sample>,
    written: Written,
}

impl Pairs {
    fn figures(&self, shape: &Shape, payload: usize) -> Result<Vec<Figure>, Failure> {
        let none = || Failure::new("nothing was measured");
        let cost = |samples: &[Sample]| median(samples.iter().map(Sample::microseconds).collect()).ok_or_else(none);
        let ratios = self.raw.iter().zip(&self.system).map(|(raw, system)| system.microseconds() / raw.microseconds());
        let ratio = median(ratios.collect()).ok_or_else(none)?;
        let (raw, system) = (cost(&self.raw)?, cost(&self.system)?);
        let sum = |part: fn(&Counts) -> u64| self.system.iter().map(|sample| part(&sample.counts)).sum();
        let counts = Counts { events: sum(|counts| counts.events), deliveries: sum(|counts| counts.deliveries) };
        let Shape { what, target, most, burst } = *shape;
        let bytes = format!(
            "a text of {TEXT_BYTES} B is an event of {payload} B; the raw server writes frames of the same length"
        );
        let mut figures = vec![
            Figure::new(format!("{what}, processor time per delivery to raw"), Quantity::Ratio(ratio))
                .target(target, Bound::AtMost(Quantity::Ratio(most)))
                .over(counts)
                .note(bytes)
                .notes(self.system.iter().find_map(|sample| sample.usage.bottleneck())),
            Figure::new(format!("{what}, system"), Quantity::Microseconds(system)),
            Figure::new(format!("{what}, raw"), Quantity::Microseconds(raw)),
        ];
        if burst > 1 {
            let rate = Quantity::PerSecond(DELIVERIES_PER_SECOND);
            figures.push(
                Figure::new(
                    format!("{what}, deliveries per second of processor time"),
                    Quantity::PerSecond(1e6 / system),
                )
                .target(target, Bound::AtLeast(rate)),
            );
            let together = Quantity::Count(self.written.frames / self.written.writes);
            figures.push(
                Figure::new(format!("{what}, events in one write"), together)
                    .note(format!("{burst} are sent at once; the raw server has all of them in one write")),
            );
        }
        Ok(figures)
    }
}

/// What the instance says that it wrote.
#[derive(Clone, Copy, Default)]
struct Written {
    writes: f64,
    frames: f64,
}

impl Written {
    async fn of(world: &mut World) -> Result<Self, Failure> {
        let url = format!("{}/actuator/prometheus", world.system.websocket_server(0).management_url());
        let answer = reqwest::get(url).await.while_doing("the metrics of the instance")?;
        let text = answer.text().await.while_doing("the metrics of the instance")?;
        let samples: HashMap<_, _> = text.lines().filter_map(|line| line.split_once(' ')).collect();
        let number = |name: &str| {
            let value = samples.get(name).and_then(|value| value.parse().ok());
            value.ok_or_else(|| Failure(format!("the instance has no metric {name}")))
        };
        Ok(Self {
            writes: number("chat_websocket_writes_total")?,
            frames: number("chat_websocket_frames_written_total")?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self { writes: self.writes - before.writes, frames: self.frames - before.frames }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(deliveries: u64, cpu_ms: u64) -> Sample {
        let usage =
            Usage { wall: Duration::from_secs(1), cpu: Duration::from_millis(cpu_ms), client: 0.5, others: 0.5 };
        Sample { counts: Counts { events: deliveries / 10, deliveries }, usage }
    }

    #[test]
    fn the_ratio_is_the_median_of_those_of_each_pair() {
        let pairs = Pairs {
            raw: vec![sample(1_000, 10), sample(1_000, 20), sample(1_000, 10)],
            system: vec![sample(1_000, 12), sample(1_000, 24), sample(1_000, 90)],
            written: Written { writes: 10.0, frames: 300.0 },
        };
        let figures = pairs.figures(&SHAPES[1], 800).unwrap();
        let measured: Vec<_> = figures.iter().map(|figure| figure.measured).collect();
        assert!(
            matches!(
                measured.as_slice(),
                [Quantity::Ratio(ratio), Quantity::Microseconds(24.0), Quantity::Microseconds(10.0), Quantity::PerSecond(_), Quantity::Count(30.0)]
                    if (ratio - 1.2).abs() < 1e-9
            ),
            "{measured:?}"
        );
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        assert!(Pairs::default().figures(&SHAPES[0], 800).is_err());
    }
}
