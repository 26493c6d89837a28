//! P4: from the moment at which a request was meant to be sent to the receipt on every WebSocket, at a steady rate.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::failure::Failure;
use crate::figure::{Bound, CHAT, Figure};
use crate::fleet::Fleet;
use crate::fleet::tally::Tally;
use crate::http::Sender;
use crate::load::{Crowd, Load};
use crate::peers::Peer;
use crate::plot::{Curve, Plot};
use crate::quantity::Quantity;
use crate::usage::Meter;
use crate::world::{Bench, Setup, Storage, World};

/// Messages.
const PER_SECOND: u32 = 200;
const ROOMS: usize = 20;
const SENDERS: usize = 60;
/// Not counted.
const WARM_UP: Duration = Duration::from_secs(2);
const MEDIAN: Quantity = Quantity::Milliseconds(5.0);
const P99: Quantity = Quantity::Milliseconds(20.0);

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.share_all()?;
    let (mut figures, mut payload, mut curves) = (Vec::new(), 0, Vec::new());
    for storage in Storage::BOTH {
        eprintln!("  {}, {:?}", storage.name(), bench.scale.measurement);
        let mut world = World::start(bench, Setup::on(storage)).await?;
        let readers = readers(bench);
        let crowd = Crowd { instance: 0, rooms: ROOMS, readers, senders: SENDERS, timed: true };
        let mut load = Load::on_chat(&mut world, crowd).await?;
        let process = world.instance_id();
        let measured = Measured::of(&mut load, &[process], bench).await?;
        let [median, p99, longest] = measured.figures(storage.name());
        figures.extend(match storage {
            Storage::Postgres => [
                median.target("P4", Bound::AtMost(MEDIAN)).compared("P4", COMPARED[0], CHAT),
                p99.target("P4", Bound::AtMost(P99)).compared("P4", COMPARED[1], CHAT),
                longest,
            ],
            Storage::Sqlite => [median, p99, longest],
        });
        payload = load.fleet.tally.payload();
        let mut points = Vec::new();
        for rate in bench.scale.rates {
            let delays = load.delays(f64::from(*rate), bench.scale.round).await?;
            let [p50, p99] = [0.5, 0.99].map(|quantile| milliseconds(&delays, quantile));
            eprintln!("  {rate}/s: p50 {p50}, p99 {p99}");
            points.push((f64::from(*rate), p50.value(), p99.value()));
        }
        curves.extend(curve(storage.name(), &points));
    }
    plot(curves).write(&bench.folder.join("latency.svg"))?;
    for kind in bench.peers.clone() {
        let peer = Peer::start(kind, bench, None).await?;
        figures.extend(of_peer(peer, kind.name(), bench, payload).await?);
        let peer = Peer::start_durable(kind, bench).await?;
        figures.extend(of_peer(peer, kind.durable_name(), bench, payload).await?);
    }
    Ok(figures)
}

fn curve(of: &str, points: &[(f64, f64, f64)]) -> [Curve; 2] {
    let curve = |part: &str, points: Vec<_>| Curve { name: format!("{of}, {part}"), points };
    [
        curve("p50", points.iter().map(|(rate, p50, _)| (*rate, *p50)).collect()),
        curve("p99", points.iter().map(|(rate, _, p99)| (*rate, *p99)).collect()),
    ]
}

fn plot(curves: Vec<Curve>) -> Plot {
    Plot { title: "HTTP send to WebSocket receive", x: "messages per second", y: "ms", curves }
}

/// Lines of the comparison.
const COMPARED: [&str; 2] = ["send to receive, p50", "send to receive, p99"];

async fn of_peer(peer: Peer, name: &'static str, bench: &Bench, payload: usize) -> Result<Vec<Figure>, Failure> {
    eprintln!("  {name}, {:?}", bench.scale.measurement);
    let (readers, origin) = (readers(bench), Instant::now());
    let seats = (0..readers * ROOMS).map(|number| peer.seat(number % ROOMS)).collect();
    let mut load = Load {
        fleet: Fleet::join(seats, Tally::with_delays(origin)?).await?,
        senders: Sender::several(SENDERS, peer.publisher()).await?,
        targets: (0..ROOMS).map(|room| peer.target(room)).collect(),
        readers,
        origin,
        text: peer.text(payload),
    };
    peer.until_subscribed(load.fleet.size()).await?;
    let measured = Measured::of(&mut load, &peer.processes()?, bench).await?;
    let [median, p99, longest] = measured.figures(name);
    Ok(vec![median.compared("P4", COMPARED[0], name), p99.compared("P4", COMPARED[1], name), longest])
}

/// Rooms of equal size, so that every message has as many.
fn readers(bench: &Bench) -> usize {
    bench.scale.connections.div_ceil(ROOMS)
}

/// What came of a load at the rate of the target.
struct Measured {
    delays: Histogram<u64>,
    notes: [String; 3],
}

impl Measured {
    async fn of(load: &mut Load, processes: &[u32], bench: &Bench) -> Result<Self, Failure> {
        let rate = f64::from(PER_SECOND);
        load.steady(rate, WARM_UP).await?;
        load.fleet.tally.take_delays();
        let meter = Meter::start(&bench.cores, processes)?;
        let sent = load.steady(rate, bench.scale.measurement).await?;
        let usage = meter.end()?;
        let delays = load.taken()?;
        let what = format!(
            "{} messages at {PER_SECOND}/s on a fixed timetable, {ROOMS} rooms, {} sessions, {} deliveries",
            sent.messages,
            load.fleet.size(),
            delays.len()
        );
        let [p50, p99] = [0.5, 0.99].map(|quantile| milliseconds(&sent.late, quantile));
        let late = format!("part of it is that requests began {p50} after their time, p99 {p99}");
        Ok(Self { notes: [what, late, usage.shares("what delivers")], delays })
    }

    fn figures(self, of: &str) -> [Figure; 3] {
        let figure = |part: &str, quantile| {
            Figure::new(format!("HTTP send to WebSocket receive, {of}, {part}"), milliseconds(&self.delays, quantile))
        };
        let [what, late, shares] = self.notes;
        [figure("p50", 0.5).note(what).note(late), figure("p99", 0.99).note(shares), figure("longest", 1.0)]
    }
}

pub(super) fn milliseconds(delays: &Histogram<u64>, quantile: f64) -> Quantity {
    Quantity::Milliseconds(delays.value_at_quantile(quantile) as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::tally::microseconds;

    #[test]
    fn quantiles_are_of_all_deliveries() {
        let mut delays = microseconds().unwrap();
        (1..=100).for_each(|milliseconds| delays.record(milliseconds * 1_000).unwrap());
        let about = |quantile, expected: f64| (milliseconds(&delays, quantile).value() - expected).abs() < 0.2;
        assert!(about(0.5, 50.0) && about(0.99, 99.0) && about(1.0, 100.0));
    }
}
