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

/// Rooms, and sessions in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    rooms: usize,
    sessions: usize,
}

/// What a delivery costs in one shape, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Point {
    shape: Shape,
    chat: f64,
    raw: f64,
}

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.spare_the_measured()?;
    let all = bench.scale.idle_connections;
    let by_rooms = ROOMS.into_iter().filter(|rooms| *rooms < all).map(|rooms| Shape { rooms, sessions: 1 });
    let by_sessions = SESSIONS.into_iter().filter(|sessions| *sessions < all).chain([all]);
    let by_sessions = by_sessions.map(|sessions| Shape { rooms: all / sessions, sessions });
    let shapes = by_rooms.chain(by_sessions);
    let mut points = Vec::new();
    for shape in shapes {
        // Right after each other, since machines change their speed within minutes.
        let (chat, payload) = cost(bench, shape).await?;
        points.push(Point { shape, chat, raw: cost_of_raw(bench, shape, payload).await? });
    }
    // Where each room has one session, all sessions are the end of the one curve and the beginning of the other.
    let single = points.iter().filter(|point| point.shape.sessions == 1).count();
    let (rooms, sizes) = (&points[..single], &points[single.saturating_sub(1)..]);
    plot(rooms, sizes).write(&bench.folder.join("scaling.svg"))?;

    let mut figures = vec![
        growth("from few rooms to many, one session in each", rooms)?.note(
            "the dearest to the cheapest with fewer, at the same rate of deliveries; idle time of the same sessions is \
             taken off; the curves are in scaling.svg",
        ),
        growth("from small rooms to large ones", sizes)?,
        dearest(&points)?.note("bare writes come as the events do: one at a time where each room has one session"),
    ];
    for Point { shape: Shape { rooms, sessions }, chat, raw } in points {
        let what = format!("processor time per delivery, {rooms} rooms of {sessions}");
        figures.push(
            Figure::new(what, Quantity::Microseconds(chat)).note(format!("{rooms} of {sessions}, raw: {raw:.2} µs")),
        );
    }
    Ok(figures)
}

/// Of a delivery, in microseconds; and how long an event is.
async fn cost(bench: &mut Bench, Shape { rooms, sessions }: Shape) -> Result<(f64, usize), Failure> {
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
    let payload = load.fleet.tally.payload();
    load.fleet.leave().await;
    Ok((cost, payload))
}

/// The same of the reference, with as many connections.
async fn cost_of_raw(bench: &Bench, Shape { rooms, sessions }: Shape, payload: usize) -> Result<f64, Failure> {
    let mut server = RawServer::start(bench.cores.measured(), payload)?;
    let seats = vec![Seat::without_handshake(server.address); rooms * sessions];
    let fleet = Fleet::join_aloof(seats, Tally::default()).await?;
    let timetable = Timetable::new(Instant::now(), PER_SECOND / sessions as f64, bench.scale.round * 2);
    let deliveries = timetable.count * sessions;
    let goal = fleet.tally.delivered() + deliveries as u64;
    let before = cpu_time_of_threads(server.id())?;
    for mut turns in timetable.announce(1) {
        while let Some(number) = turns.recv().await {
            let first = number % rooms * sessions;
            server.burst(1, first..first + sessions)?;
        }
    }
    fleet.tally.reach(goal).await?;
    let used = cpu_time_of_threads(server.id())?.saturating_sub(before);
    let cost = used.as_secs_f64() * 1e6 / deliveries as f64;
    eprintln!("  {rooms} rooms × {sessions} sessions, raw: {cost:.2} µs a delivery");
    fleet.leave().await;
    Ok(cost)
}

/// How much dearer a delivery gets on the way: that it gets cheaper, because more of them share what is done once for an
/// event, is no fault.
fn growth(what: &str, points: &[Point]) -> Result<Figure, Failure> {
    demand_work(points)?;
    let mut cheapest = f64::INFINITY;
    let steps = points.iter().map(|point| {
        cheapest = cheapest.min(point.chat);
        point.chat / cheapest
    });
    let most = steps.fold(1.0, f64::max);
    let what = format!("growth of processor time per delivery, {what}");
    Ok(Figure::new(what, Quantity::Ratio(most)).target("P7", Bound::AtMost(MOST)))
}

/// The most, to what bare writes cost in the same shape.
fn dearest(points: &[Point]) -> Result<Figure, Failure> {
    demand_work(points)?;
    let most = points.iter().map(|point| point.chat / point.raw).fold(0.0, f64::max);
    Ok(Figure::new("processor time per delivery to raw, in the dearest of these shapes", Quantity::Ratio(most)))
}

fn demand_work(points: &[Point]) -> Result<(), Failure> {
    if points.iter().any(|point| point.chat <= 0.0 || point.raw <= 0.0) {
        return Err(Failure::new("so little processor time was used that nothing can be told"));
    }
    Ok(())
}

fn plot(rooms: &[Point], sizes: &[Point]) -> Plot {
    let curve = |name: &str, points: &[Point], place: fn(Shape) -> usize, cost: fn(&Point) -> f64| Curve {
        name: name.to_owned(),
        points: points.iter().map(|point| (place(point.shape) as f64, cost(point))).collect(),
    };
    Plot {
        title: "Processor time per delivery, at the same rate of deliveries",
        x: "rooms, or sessions in a room",
        y: "µs",
        curves: vec![
            curve("rooms of one session", rooms, |shape| shape.rooms, |point| point.chat),
            curve("rooms of one session, raw", rooms, |shape| shape.rooms, |point| point.raw),
            curve("sessions in a room", sizes, |shape| shape.sessions, |point| point.chat),
            curve("sessions in a room, raw", sizes, |shape| shape.sessions, |point| point.raw),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(costs: &[(f64, f64)]) -> Vec<Point> {
        let shape = Shape { rooms: 1, sessions: 1 };
        costs.iter().map(|(chat, raw)| Point { shape, chat: *chat, raw: *raw }).collect()
    }

    #[test]
    fn only_what_gets_dearer_is_growth() {
        let measured = |costs| growth("", &points(costs)).unwrap().measured;
        assert_eq!(measured(&[(30.0, 1.0), (12.0, 1.0), (8.0, 1.0)]), Quantity::Ratio(1.0));
        assert_eq!(measured(&[(30.0, 1.0), (8.0, 1.0), (12.0, 1.0), (10.0, 1.0)]), Quantity::Ratio(1.5));
        assert!(growth("", &points(&[(0.0, 1.0)])).is_err());
    }

    #[test]
    fn the_dearest_shape_counts() {
        let figure = dearest(&points(&[(6.0, 5.0), (30.0, 60.0), (9.0, 10.0)])).unwrap();
        assert_eq!(figure.measured, Quantity::Ratio(1.2));
        assert!(dearest(&points(&[(1.0, 0.0)])).is_err());
    }
}
