//! P1 and P2: processor time per delivery in one large room, whole instance beside bare writes of the same bytes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::cores::Cores;
use crate::failure::{Failure, While};
use crate::figure::{Bound, CHAT, Counts, Figure, RAW};
use crate::fleet::tally::Tally;
use crate::fleet::{Fleet, Seat};
use crate::http::{Sender, Target};
use crate::peers::Peer;
use crate::process::cpu_time_of_threads;
use crate::quantity::{Quantity, median};
use crate::raw::RawServer;
use crate::usage::{Meter, Usage};
use crate::world::{Bench, Setup, TEXT_BYTES, World};

/// Messages at once where there is more than one.
const BURST: usize = 32;

/// How messages come.
struct Shape {
    what: &'static str,
    target: &'static str,
    /// Its line in the comparison.
    compared: &'static str,
    /// Times the reference.
    most: f64,
    burst: usize,
}

const SHAPES: [Shape; 2] = [
    Shape {
        what: "one event at a time",
        target: "P1",
        compared: "processor time per delivery, one at a time",
        most: 1.25,
        burst: 1,
    },
    Shape { what: "bursts", target: "P2", compared: "processor time per delivery, bursts", most: 1.5, burst: BURST },
];
/// Of P2, per core.
const DELIVERIES_PER_SECOND: f64 = 1e6;

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.spare_the_measured()?;
    let core = bench.cores.measured();
    let connections = bench.scale.connections;
    let mut world = World::start(bench, Setup::measured(core)).await?;
    let mut system = Subject::system(&mut world, connections).await?;
    // Warms up, and tells how long an event is.
    system.round(BURST).await?;
    let payload = system.fleet.tally.payload();
    let mut subjects = vec![Subject::raw(core, payload, connections).await?, system];
    for kind in bench.peers.clone() {
        subjects
            .push(Subject::peer(Peer::start(kind, bench, Some(core)).await?, kind.name(), payload, connections).await?);
    }
    for subject in &mut subjects {
        subject.round(BURST).await?;
        if subject.fleet.tally.payload() != payload {
            return Err(Failure(format!("a message of {} is not as long as an event", subject.name)));
        }
    }

    let mut figures = Vec::new();
    for shape in SHAPES {
        figures.extend(by_turns(&shape, &mut subjects, bench, &mut world).await?.figures(&shape, payload)?);
    }
    Ok(figures)
}

/// Measures all of them by turns, so that what disturbs the machine disturbs all.
async fn by_turns(
    shape: &Shape,
    subjects: &mut [Subject],
    bench: &Bench,
    world: &mut World,
) -> Result<Rounds, Failure> {
    let before = Written::of(world).await?;
    let mut series: Vec<_> = subjects.iter().map(|subject| Series::new(subject.name)).collect();
    for number in 1..=bench.scale.rounds {
        let mut costs = Vec::new();
        for (subject, series) in subjects.iter_mut().zip(&mut series) {
            let sample = subject.measure(shape.burst, bench.scale.round, &bench.cores).await?;
            costs.push(format!("{} {:.2} µs", subject.name, sample.microseconds()));
            series.samples.push(sample);
        }
        eprintln!("  {} {number}/{}: {}", shape.what, bench.scale.rounds, costs.join(", "));
    }
    Ok(Rounds { series, written: Written::of(world).await?.since(before) })
}

/// What is measured, with the connections to it.
struct Subject {
    name: &'static str,
    fleet: Fleet,
    source: Source,
    processes: Vec<u32>,
    /// It ends with this.
    _peer: Option<Peer>,
}

/// What makes messages come.
enum Source {
    Raw(RawServer),
    Http { senders: Vec<Sender>, target: Target, text: String },
}

impl Subject {
    async fn system(world: &mut World, connections: usize) -> Result<Self, Failure> {
        let room = world.user.api.create_channel("PUBLIC", "fanout", &[]).await;
        let instance = world.instance(0)?;
        let seats = (0..connections).map(|number| Seat::in_room(instance, &world.token(number), room)).collect();
        let fleet = Fleet::join_aloof(seats, Tally::default()).await?;
        let source = Source::Http {
            senders: Sender::several(BURST, world.message_server()?).await?,
            target: Target::channel(&world.user.token, room),
            text: "x".repeat(TEXT_BYTES),
        };
        Ok(Self { name: CHAT, fleet, source, processes: vec![world.instance_id()], _peer: None })
    }

    async fn peer(peer: Peer, name: &'static str, payload: usize, connections: usize) -> Result<Self, Failure> {
        let fleet = Fleet::join_aloof(vec![peer.seat(0); connections], Tally::default()).await?;
        peer.until_subscribed(connections).await?;
        let processes = peer.processes()?;
        let source = Source::Http {
            senders: Sender::several(BURST, peer.publisher()).await?,
            target: peer.target(0),
            text: "x".repeat(peer.text(payload)),
        };
        Ok(Self { name, fleet, source, processes, _peer: Some(peer) })
    }

    async fn raw(core: usize, payload: usize, connections: usize) -> Result<Self, Failure> {
        let server = RawServer::start(core, payload)?;
        let seats = vec![Seat::without_handshake(server.address); connections];
        let (processes, fleet) = (vec![server.id()], Fleet::join_aloof(seats, Tally::default()).await?);
        Ok(Self { name: RAW, fleet, source: Source::Raw(server), processes, _peer: None })
    }

    async fn measure(&mut self, burst: usize, duration: Duration, cores: &Cores) -> Result<Sample, Failure> {
        let before = self.fleet.tally.delivered();
        let used = self.cpu_time()?;
        let (meter, began) = (Meter::start(cores, &self.processes)?, Instant::now());
        let mut events = 0;
        while began.elapsed() < duration {
            self.round(burst).await?;
            events += burst as u64;
        }
        let counts = Counts { events, deliveries: self.fleet.tally.delivered() - before };
        Ok(Sample { counts, cpu: self.cpu_time()?.saturating_sub(used), usage: meter.end()? })
    }

    /// Exact also for few connections. None of these processes ends threads that have worked.
    fn cpu_time(&self) -> Result<Duration, Failure> {
        self.processes.iter().map(|process| cpu_time_of_threads(*process)).sum()
    }

    /// Has so many messages come at once and waits until every connection has all of them.
    async fn round(&mut self, burst: usize) -> Result<(), Failure> {
        let goal = self.fleet.goal(burst);
        match &mut self.source {
            Source::Raw(server) => server.burst(burst, 0..self.fleet.size())?,
            Source::Http { senders, target, text } => {
                try_join_all(senders.iter_mut().take(burst).map(|sender| sender.send(target, text))).await?;
            }
        }
        self.fleet.tally.reach(goal).await
    }
}

/// One measurement.
struct Sample {
    counts: Counts,
    cpu: Duration,
    usage: Usage,
}

impl Sample {
    /// Processor time per delivery.
    fn microseconds(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.counts.deliveries as f64
    }
}

/// The measurements of one subject.
struct Series {
    whose: &'static str,
    samples: Vec<Sample>,
}

impl Series {
    const fn new(whose: &'static str) -> Self {
        Self { whose, samples: Vec::new() }
    }

    fn cost(&self) -> Result<f64, Failure> {
        median(self.samples.iter().map(Sample::microseconds).collect()).ok_or_else(nothing)
    }

    fn total(&self) -> Counts {
        let sum = |part: fn(&Counts) -> u64| self.samples.iter().map(|sample| part(&sample.counts)).sum();
        Counts { events: sum(|counts| counts.events), deliveries: sum(|counts| counts.deliveries) }
    }
}

/// The measurements of all in turn.
#[derive(Default)]
struct Rounds {
    series: Vec<Series>,
    written: Written,
}

impl Rounds {
    fn of(&self, whose: &str) -> Result<&Series, Failure> {
        self.series.iter().find(|series| series.whose == whose).ok_or_else(nothing)
    }

    fn figures(&self, shape: &Shape, payload: usize) -> Result<Vec<Figure>, Failure> {
        let (raw, system) = (self.of(RAW)?, self.of(CHAT)?);
        let pairs = raw.samples.iter().zip(&system.samples);
        let ratios = pairs.map(|(raw, system)| system.microseconds() / raw.microseconds());
        let ratio = median(ratios.collect()).ok_or_else(nothing)?;
        let Shape { what, target, compared, most, burst } = *shape;
        let bytes =
            format!("a text of {TEXT_BYTES} B is an event of {payload} B; all others send frames of the same length");
        let mut figures = vec![
            Figure::new(format!("{what}, processor time per delivery to raw"), Quantity::Ratio(ratio))
                .target(target, Bound::AtMost(Quantity::Ratio(most)))
                .over(system.total())
                .note(bytes)
                .notes(system.samples.iter().find_map(|sample| sample.usage.bottleneck())),
        ];
        for series in &self.series {
            let cost = Quantity::Microseconds(series.cost()?);
            figures.push(Figure::new(format!("{what}, {}", series.whose), cost).compared(
                target,
                compared,
                series.whose,
            ));
        }
        if burst > 1 {
            let rate = Quantity::PerSecond(DELIVERIES_PER_SECOND);
            let measured = Quantity::PerSecond(1e6 / system.cost()?);
            figures.push(
                Figure::new(format!("{what}, deliveries per second of processor time"), measured)
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

fn nothing() -> Failure {
    Failure::new("nothing was measured")
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
        let (wall, cpu) = (Duration::from_secs(1), Duration::from_millis(cpu_ms));
        let usage = Usage { wall, cpu, client: 0.5, others: 0.5 };
        Sample { counts: Counts { events: deliveries / 10, deliveries }, cpu, usage }
    }

    #[test]
    fn the_ratio_is_the_median_of_those_of_each_pair() {
        let series = |whose, samples| Series { whose, samples };
        let rounds = Rounds {
            series: vec![
                series(RAW, vec![sample(1_000, 10), sample(1_000, 20), sample(1_000, 10)]),
                series(CHAT, vec![sample(1_000, 12), sample(1_000, 24), sample(1_000, 90)]),
            ],
            written: Written { writes: 10.0, frames: 300.0 },
        };
        let figures = rounds.figures(&SHAPES[1], 800).unwrap();
        let measured: Vec<_> = figures.iter().map(|figure| figure.measured).collect();
        assert!(
            matches!(
                measured.as_slice(),
                [Quantity::Ratio(ratio), Quantity::Microseconds(10.0), Quantity::Microseconds(24.0), Quantity::PerSecond(_), Quantity::Count(30.0)]
                    if (ratio - 1.2).abs() < 1e-9
            ),
            "{measured:?}"
        );
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        assert!(Rounds::default().figures(&SHAPES[0], 800).is_err());
    }
}
