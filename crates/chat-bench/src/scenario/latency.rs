//! P4: from the moment at which a request was meant to be sent to the receipt on every WebSocket, at a steady rate.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tokio::time::sleep_until;

use crate::failure::Failure;
use crate::figure::{Bound, Figure};
use crate::fleet::tally::{Tally, marked_text};
use crate::fleet::{Fleet, Seat};
use crate::http::Sender;
use crate::quantity::Quantity;
use crate::usage::Meter;
use crate::world::{Bench, Storage, TEXT_BYTES, World};

/// Messages.
const PER_SECOND: u32 = 200;
const ROOMS: usize = 20;
/// Many, so that a slow answer does not hold up the next send.
const SENDERS: usize = 60;
/// Not counted.
const WARM_UP: Duration = Duration::from_secs(2);
const MEDIAN: Quantity = Quantity::Milliseconds(5.0);
const P99: Quantity = Quantity::Milliseconds(20.0);

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.share_all()?;
    let mut figures = Vec::new();
    for storage in Storage::BOTH {
        eprintln!("  {}, {:?}", storage.name(), bench.scale.measurement);
        figures.extend(on(storage, bench).await?);
    }
    Ok(figures)
}

async fn on(storage: Storage, bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let mut world = World::start(bench, storage, None).await?;
    let rooms = world.user.api.create_public_channels(ROOMS).await;
    let instance = world.instance()?;
    // Rooms of equal size, so that every message has as many readers.
    let readers = bench.scale.connections.div_ceil(ROOMS);
    let places = rooms.iter().cycle().take(readers * ROOMS).enumerate();
    let seats = places.map(|(number, room)| Seat::in_room(instance, &world.token(number), *room)).collect();
    let origin = Instant::now();
    let fleet = Fleet::join(seats, Tally::with_delays(origin)?).await?;
    let mut senders = Sender::several(SENDERS, world.message_server()?, &world.user.token, &rooms).await?;

    steady(&mut senders, &fleet, readers, origin, WARM_UP).await?;
    fleet.tally.take_delays();
    let meter = Meter::start(&bench.cores, world.instance_id())?;
    let sent = steady(&mut senders, &fleet, readers, origin, bench.scale.measurement).await?;
    let usage = meter.end()?;
    let delays = fleet.tally.take_delays().filter(|delays| !delays.is_empty());
    let delays = delays.ok_or_else(|| Failure::new("no delay was measured"))?;

    let at = |quantile| milliseconds(&delays, quantile);
    let what = |part: &str| format!("HTTP send to WebSocket receive, {}, {part}", storage.name());
    let mut median = Figure::new(what("p50"), at(0.5)).note(format!(
        "{sent} messages at {PER_SECOND}/s on a fixed timetable, {ROOMS} rooms, {} sessions, {} deliveries",
        fleet.size(),
        delays.len()
    ));
    let mut p99 = Figure::new(what("p99"), at(0.99)).note(usage.shares("the instance"));
    if storage == Storage::Postgres {
        median = median.target("P4", Bound::AtMost(MEDIAN));
        p99 = p99.target("P4", Bound::AtMost(P99));
    }
    Ok(vec![median, p99, Figure::new(what("longest"), at(1.0))])
}

/// Sends at the fixed rate for so long and waits until everybody has everything. Returns how many messages it were.
async fn steady(
    senders: &mut [Sender],
    fleet: &Fleet,
    readers: usize,
    origin: Instant,
    duration: Duration,
) -> Result<usize, Failure> {
    let messages = usize::try_from(duration.as_millis() * u128::from(PER_SECOND) / 1_000).unwrap_or(usize::MAX);
    let goal = fleet.tally.delivered() + (messages * readers) as u64;
    let (first, count) = (origin.elapsed(), senders.len());
    let sending = senders.iter_mut().enumerate().map(async |(number, sender)| {
        for message in (number..messages).step_by(count) {
            // Whoever is late, counts from the timetable: the wait for a slow answer is part of the delay.
            let meant_at = first + Duration::from_secs_f64(message as f64 / f64::from(PER_SECOND));
            sleep_until((origin + meant_at).into()).await;
            sender.send(&marked_text(meant_at, TEXT_BYTES)).await?;
        }
        Ok::<_, Failure>(())
    });
    try_join_all(sending).await?;
    fleet.tally.reach(goal).await?;
    Ok(messages)
}

fn milliseconds(delays: &Histogram<u64>, quantile: f64) -> Quantity {
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
