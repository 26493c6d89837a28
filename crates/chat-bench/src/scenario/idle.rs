//! P3: memory of a connection that is signed in, subscribed and registered, and does nothing.

use std::time::{Duration, Instant};

use chat_domain::ChannelId;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::figure::{Bound, CHAT, Figure};
use crate::fleet::tally::Tally;
use crate::fleet::{Fleet, Seat};
use crate::peers::Peer;
use crate::process::resident_bytes;
use crate::quantity::Quantity;
use crate::world::{Bench, Setup, World};

const WHAT: &str = "resident memory of a connection";
/// Sessions in each room.
const PER_ROOM: usize = 100;
/// One in so many connects before the first look, so that what the process needs anyhow is not counted.
const FIRST: usize = 10;
const MOST: Quantity = Quantity::Kilobytes(7.0);
/// Memory counts when it has changed by less than a thousandth for so long.
const SETTLED: Duration = Duration::from_secs(3);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.spare_the_measured()?;
    let (core, connections) = (bench.cores.measured(), bench.scale.idle_connections);
    let mut world = World::start(bench, Setup::measured(core)).await?;
    let rooms = world.create_rooms(connections.div_ceil(PER_ROOM)).await?;
    let seats = seats(&mut world, &rooms, connections)?;
    let process = world.instance_id();
    let growth = Growth::of(seats, &[process], async |sessions| Ok(registered(&mut world).await? == sessions)).await?;
    let mut figures = vec![
        growth.figure(CHAT)?.target("P3", Bound::AtMost(MOST)).note(format!(
            "{} users with a connection each, {PER_ROOM} to a room; the difference to {} of them",
            growth.all, growth.first
        )),
        Figure::new("resident memory of the instance", Quantity::Kilobytes(growth.after as f64 / 1024.0)),
    ];
    drop(world);
    for kind in bench.peers.clone() {
        eprintln!("  {}", kind.name());
        let peer = Peer::start(kind, bench, Some(core)).await?;
        let seats = (0..connections).map(|number| peer.seat(number % connections.div_ceil(PER_ROOM))).collect();
        let all_there = async |sessions| peer.until_subscribed(sessions).await.map(|()| true);
        figures.push(Growth::of(seats, &peer.processes()?, all_there).await?.figure(kind.name())?);
    }
    Ok(figures)
}

/// Memory before and after most of the connections came.
struct Growth {
    first: usize,
    all: usize,
    before: u64,
    after: u64,
}

impl Growth {
    async fn of(
        mut seats: Vec<Seat>,
        processes: &[u32],
        mut all_there: impl AsyncFnMut(usize) -> Result<bool, Failure>,
    ) -> Result<Self, Failure> {
        let rest = seats.split_off(seats.len().div_ceil(FIRST));
        let mut fleet = Fleet::join(seats, Tally::default()).await?;
        let (before, first) = (settled(processes, fleet.size(), &mut all_there).await?, fleet.size());
        eprintln!("  {first} connections: {} KB", before / 1024);
        fleet.grow(rest).await?;
        let after = settled(processes, fleet.size(), &mut all_there).await?;
        eprintln!("  {} connections: {} KB", fleet.size(), after / 1024);
        // A connection that has ended in the meantime is said to have.
        fleet.tally.reach(0).await?;
        Ok(Self { first, all: fleet.size(), before, after })
    }

    fn figure(&self, whose: &'static str) -> Result<Figure, Failure> {
        let each = per_connection(self.before, self.after, self.all - self.first)?;
        let what = if whose == CHAT { WHAT.to_owned() } else { format!("{WHAT}, {whose}") };
        Ok(Figure::new(what, Quantity::Kilobytes(each)).compared("P3", WHAT, whose))
    }
}

/// In neighbouring seats are users of different rooms.
fn seats(world: &mut World, rooms: &[ChannelId], connections: usize) -> Result<Vec<Seat>, Failure> {
    let instance = world.instance(0)?;
    let rooms = rooms.iter().cycle().take(connections).enumerate();
    Ok(rooms.map(|(number, room)| Seat::in_room(instance, &world.token(number), *room)).collect())
}

/// The memory of the processes when all sessions are there and it changes no more.
async fn settled(
    processes: &[u32],
    sessions: usize,
    all_there: &mut impl AsyncFnMut(usize) -> Result<bool, Failure>,
) -> Result<u64, Failure> {
    let memory = || processes.iter().map(|process| resident_bytes(*process)).sum::<Result<u64, Failure>>();
    let began = Instant::now();
    let (mut last, mut since) = (memory()?, Instant::now());
    loop {
        sleep(Duration::from_millis(100)).await;
        let now = memory()?;
        if now.abs_diff(last) > last / 1_000 {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > SETTLED && all_there(sessions).await? {
            return Ok(now);
        }
        if began.elapsed() > SETTLE_TIMEOUT {
            return Err(Failure(format!("after {SETTLE_TIMEOUT:?} the memory still changes or a session is missing")));
        }
    }
}

/// How many sessions are in the registry.
async fn registered(world: &mut World) -> Result<usize, Failure> {
    let url = format!("{}/actuator/chatrooms?size=1", world.system.websocket_server(0).management_url());
    let answer = async { reqwest::get(url).await?.bytes().await };
    let answer = answer.await.map_err(|error| Failure(format!("/actuator/chatrooms: {error}")))?;
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
    let count = answer["activeSessions"]["cluster"].as_u64().and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| Failure::new("the instance does not tell how many sessions there are"))
}

/// In KB.
fn per_connection(before: u64, after: u64, connections: usize) -> Result<f64, Failure> {
    let grown = after.checked_sub(before).filter(|_| connections > 0);
    let grown = grown.ok_or_else(|| Failure::new("there are too few connections to see their memory"))?;
    Ok(grown as f64 / 1024.0 / connections as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_by_the_connections_that_were_added() {
        assert_eq!(per_connection(10_240, 20_480, 2).unwrap(), 5.0);
        assert!(per_connection(10_240, 20_480, 0).is_err());
        assert!(per_connection(20_480, 10_240, 2).is_err());
    }
}
