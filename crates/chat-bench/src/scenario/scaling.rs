//! P7: processor time per delivery, from few rooms to many and from small ones to large ones, at the same rate of
//! deliveries.

use std::time::Instant;

use crate::failure::Failure;
use crate::figure::{Bound, Figure};
use crate::fleet::tally::Tally;
use crate::fleet::{Fleet, Seat};
use crate::load::{Crowd, Load};
use crate::plot::{Curve, Plot};
use crate::process::cpu_time_of_threads;
use crate::quantity::Quantity;
use crate::raw::RawServer;
use crate::timetable::Timetable;
use crate::usage::Meter;
use crate::world::{Bench, Setup, World};

/// Deliveries. Where each room has one session, it is as many messages.
const PER_SECOND: f64 = 3_000.0;
const SENDERS: usize = 64;
/// Numbers of rooms with a session each, of which the last is as many as there are sessions.
const ROOMS: [usize; 3] = [10, 100, 1_000];
/// Sessions in each room, of which the last is all of them.
const SESSIONS: [usize; 4] = [1, 10, 100, 1_000];
const MOST: Quantity = Quantity::Ratio(1.3);

/// A number of rooms, or of sessions in each, and what a delivery costs there.
type Point = (usize, f64);

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.spare_the_measured()?;
    let all = bench.scale.idle_connections;
    let (mut by_rooms, mut by_sessions, mut payload) = (Vec::new(), Vec::new(), 0);
    for rooms in ROOMS.into_iter().filter(|rooms| *rooms < all) {
        by_rooms.push((rooms, cost(bench, rooms, 1, &mut payload).await?));
    }
    let sizes = || SESSIONS.into_iter().filter(|sessions| *sessions < all).chain([all]);
    for sessions in sizes() {
        by_sessions.push((sessions, cost(bench, all / sessions, sessions, &mut payload).await?));
    }
    by_rooms.extend(by_sessions.first().map(|(_, cost)| (all, *cost)));
    let raw = Raw::start(bench, payload, all).await?.costs(bench, sizes()).await?;
    if raw.iter().any(|(_, cost)| *cost <= 0.0) {
        return Err(Failure::new("the raw server used so little processor time that nothing can be told"));
    }
    plot(&by_rooms, &by_sessions, &raw).write(&bench.folder.join("scaling.svg"))?;

    let to_raw = by_sessions.iter().zip(&raw).map(|((count, cost), (_, raw))| (*count, cost / raw)).collect::<Vec<_>>();
    let mut figures = vec![
        flat("processor time per delivery, from few rooms to many, one session in each", &by_rooms)?.note(
            "dearest to cheapest; idle time of the same sessions is taken off; the curves are in scaling.svg",
        ),
        flat("processor time per delivery to raw, from small rooms to large ones", &to_raw)?.note(
            "of the ratios to bare writes in the same pattern: with one session in a room each delivery bears the whole \
             cost of hearing of its event, whoever writes it",
        ),
    ];
    let each = |what: &str, (count, cost): &Point| {
        Figure::new(format!("processor time per delivery, {count} {what}"), Quantity::Microseconds(*cost))
    };
    figures.extend(by_rooms.iter().map(|point| each("rooms of one session", point)));
    figures.extend(by_sessions.iter().skip(1).map(|point| each("sessions in a room", point)));
    figures.extend(raw.iter().map(|point| each("sessions in a room, raw", point)));
    Ok(figures)
}

/// Of a delivery, in microseconds. Tells also how long an event is.
async fn cost(bench: &mut Bench, rooms: usize, sessions: usize, payload: &mut usize) -> Result<f64, Failure> {
    let core = bench.cores.measured();
    let mut world = World::start(bench, Setup::measured(core)).await?;
    let crowd = Crowd { instance: 0, rooms, readers: sessions, senders: SENDERS, timed: false };
    let mut load = Load::on_chat(&mut world, crowd).await?;
    let rate = PER_SECOND / sessions as f64;
    load.steady(rate, bench.scale.round / 2).await?;

    let processes = [world.instance_id()];
    let meter = Meter::start(&bench.cores, &processes)?;
    tokio::time::sleep(bench.scale.round).await;
    let idle = meter.end()?;
    let meter = Meter::start(&bench.cores, &processes)?;
    let sent = load.steady(rate, bench.scale.round * 2).await?;
    let busy = meter.end()?;
    let deliveries = (sent.messages * sessions) as f64;
    let used = busy.cpu.as_secs_f64() - idle.measured() * busy.wall.as_secs_f64();
    let cost = used * 1e6 / deliveries;
    eprintln!(
        "  {rooms} rooms × {sessions} sessions: {cost:.2} µs a delivery, {:.3} of the core when idle",
        idle.measured()
    );
    *payload = load.fleet.tally.payload();
    Ok(cost)
}

/// The reference, with as many connections.
struct Raw {
    server: RawServer,
    fleet: Fleet,
}

impl Raw {
    async fn start(bench: &Bench, payload: usize, connections: usize) -> Result<Self, Failure> {
        let server = RawServer::start(bench.cores.measured(), payload)?;
        let seats = vec![Seat::without_handshake(server.address); connections];
        Ok(Self { server, fleet: Fleet::join(seats, Tally::default()).await? })
    }

    /// For rooms of each of these sizes.
    async fn costs(mut self, bench: &Bench, sizes: impl Iterator<Item = usize>) -> Result<Vec<Point>, Failure> {
        let mut points = Vec::new();
        for sessions in sizes {
            let timetable = Timetable::new(Instant::now(), PER_SECOND / sessions as f64, bench.scale.round * 2);
            let rooms = self.fleet.size() / sessions;
            let deliveries = timetable.count * sessions;
            let goal = self.fleet.tally.delivered() + deliveries as u64;
            let before = cpu_time_of_threads(self.server.id())?;
            for mut turns in timetable.announce(1) {
                while let Some(number) = turns.recv().await {
                    let first = number % rooms * sessions;
                    self.server.burst(1, first..first + sessions)?;
                }
            }
            self.fleet.tally.reach(goal).await?;
            let used = cpu_time_of_threads(self.server.id())?.saturating_sub(before);
            let cost = used.as_secs_f64() * 1e6 / deliveries as f64;
            eprintln!("  {rooms} rooms × {sessions} sessions, raw: {cost:.2} µs a delivery");
            points.push((sessions, cost));
        }
        Ok(points)
    }
}

fn flat(what: &str, points: &[Point]) -> Result<Figure, Failure> {
    let costs = || points.iter().map(|(_, cost)| *cost);
    let (least, most) = (costs().fold(f64::MAX, f64::min), costs().fold(0.0, f64::max));
    if least <= 0.0 {
        return Err(Failure::new("so little processor time was used that nothing can be told"));
    }
    Ok(Figure::new(what, Quantity::Ratio(most / least)).target("P7", Bound::AtMost(MOST)))
}

fn plot(by_rooms: &[Point], by_sessions: &[Point], raw: &[Point]) -> Plot {
    let curve = |name: &str, points: &[Point]| Curve {
        name: name.to_owned(),
        points: points.iter().map(|(count, cost)| (*count as f64, *cost)).collect(),
    };
    Plot {
        title: "Processor time per delivery, at the same rate of deliveries",
        x: "rooms, or sessions in a room",
        y: "µs",
        curves: vec![
            curve("rooms of one session", by_rooms),
            curve("sessions in a room", by_sessions),
            curve("sessions in a room, raw", raw),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flatness_is_the_dearest_to_the_cheapest() {
        let figure = flat("", &[(1, 6.0), (10, 5.0), (100, 7.5)]).unwrap();
        assert_eq!(figure.measured, Quantity::Ratio(1.5));
        assert!(flat("", &[(1, 0.0)]).is_err());
    }
}
