//! P6: what an instance hears from Redis while rooms that it does not serve get ten times the traffic. And how long it
//! takes to open very many rooms.

use std::time::Instant;

use crate::failure::Failure;
use crate::figure::{Bound, Figure};
use crate::fleet::tally::Tally;
use crate::fleet::{Fleet, Seat};
use crate::load::{Crowd, Load};
use crate::quantity::Quantity;
use crate::world::{Bench, Setup, Storage, World};

const ROOMS: usize = 10;
const READERS: usize = 10;
const SENDERS: usize = 20;
/// Messages, to the rooms that the instance serves and first to the others.
const PER_SECOND: f64 = 50.0;
const TIMES: f64 = 10.0;
const MOST: Quantity = Quantity::Ratio(1.02);
/// As many as a session may have.
const PER_SESSION: usize = 256;

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.share_all()?;
    let mut figures = heard(bench).await?;
    figures.extend(opened(bench).await?);
    Ok(figures)
}

async fn heard(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let mut world = World::start(bench, Setup { counted: true, ..Setup::on(Storage::Sqlite) }).await?;
    let crowd = Crowd { instance: 0, rooms: ROOMS, readers: READERS, senders: SENDERS, timed: false };
    let mut own = Load::on_chat(&mut world, crowd).await?;
    let mut foreign = Load::on_chat(&mut world, Crowd { readers: 0, ..crowd }).await?;
    let duration = bench.scale.measurement;
    let mut heard = [0, 0];
    let mut sent = [0, 0];
    for (phase, foreign_rate) in [PER_SECOND, PER_SECOND * TIMES].into_iter().enumerate() {
        let before = messages(&world)?;
        let (of_own, of_foreign) =
            futures_util::try_join!(own.steady(PER_SECOND, duration), foreign.steady(foreign_rate, duration))?;
        let (of_own, of_foreign) = (of_own.messages, of_foreign.messages);
        heard[phase] = messages(&world)? - before;
        sent[phase] = of_foreign;
        if heard[phase] < of_own as u64 {
            return Err(Failure(format!("{} messages from Redis were counted of {of_own}", heard[phase])));
        }
        eprintln!("  {of_own} messages to rooms that are served, {of_foreign} to others: {} heard", heard[phase]);
    }
    let note = format!(
        "{} messages to rooms that are not served, then {}, in {duration:?} each; counted on the wire from Redis",
        sent[0], sent[1]
    );
    Ok(vec![
        Figure::new("messages from Redis, with ten times the traffic elsewhere", ratio(heard))
            .target("P6", Bound::AtMost(MOST))
            .note(note),
        Figure::new("messages from Redis, before", Quantity::Count(heard[0] as f64)),
    ])
}

fn messages(world: &World) -> Result<u64, Failure> {
    let counter = world.counter.as_ref().ok_or_else(|| Failure::new("nothing counts what comes from Redis"))?;
    Ok(counter.messages())
}

fn ratio([before, after]: [u64; 2]) -> Quantity {
    Quantity::Ratio(after as f64 / before as f64)
}

async fn opened(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let mut world = World::start(bench, Setup::on(Storage::Sqlite)).await?;
    let count = bench.scale.rooms;
    eprintln!("  making {count} rooms");
    let rooms = world.create_rooms(count).await?;
    let instance = world.instance(0)?;
    let sessions = rooms.chunks(PER_SESSION).enumerate();
    let seats = sessions.map(|(number, rooms)| Seat::in_rooms(instance, &world.token(number), rooms)).collect();
    let began = Instant::now();
    let fleet = Fleet::join(seats, Tally::default()).await?;
    let took = began.elapsed();
    let note =
        format!("{} sessions with up to {PER_SESSION} rooms each, until the last one is confirmed", fleet.size());
    Ok(vec![
        Figure::new(format!("{count} rooms opened"), Quantity::Milliseconds(took.as_secs_f64() * 1e3)).note(note),
        Figure::new("rooms opened per second", Quantity::PerSecond(count as f64 / took.as_secs_f64())),
    ])
}
