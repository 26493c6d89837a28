//! P3: memory of a connection that is signed in, subscribed and registered, and does nothing.

use std::time::{Duration, Instant};

use chat_domain::ChannelId;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::figure::{Bound, Figure};
use crate::fleet::tally::Tally;
use crate::fleet::{Fleet, Seat};
use crate::process::resident_bytes;
use crate::quantity::Quantity;
use crate::world::{Bench, Storage, World};

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
    let core = bench.cores.measured();
    let mut world = World::start(bench, Storage::Sqlite, Some(core)).await?;
    let connections = bench.scale.idle_connections;
    let rooms = world.user.api.create_public_channels(connections.div_ceil(PER_ROOM)).await;
    let mut seats = seats(&mut world, &rooms, connections)?;
    let rest = seats.split_off(connections.div_ceil(FIRST));

    let mut fleet = Fleet::join(seats, Tally::default()).await?;
    let (before, first) = (settled(&mut world, fleet.size()).await?, fleet.size());
    eprintln!("  {first} connections: {} KB", before / 1024);
    fleet.grow(rest).await?;
    let after = settled(&mut world, fleet.size()).await?;
    eprintln!("  {} connections: {} KB", fleet.size(), after / 1024);
    // A connection that has ended in the meantime is said to have.
    fleet.tally.reach(0).await?;

    let each = per_connection(before, after, fleet.size() - first)?;
    let what = "resident memory of a connection";
    Ok(vec![
        Figure::new(what, Quantity::Kilobytes(each)).target("P3", Bound::AtMost(MOST)).note(format!(
            "{} users with a connection each, {PER_ROOM} to a room; the difference to {first} of them",
            fleet.size()
        )),
        Figure::new("resident memory of the instance", Quantity::Kilobytes(after as f64 / 1024.0)),
    ])
}

/// In neighbouring seats are users of different rooms.
fn seats(world: &mut World, rooms: &[ChannelId], connections: usize) -> Result<Vec<Seat>, Failure> {
    let instance = world.instance()?;
    let rooms = rooms.iter().cycle().take(connections).enumerate();
    Ok(rooms.map(|(number, room)| Seat::in_room(instance, &world.token(number), *room)).collect())
}

/// The instance's memory when all sessions are registered and it changes no more.
async fn settled(world: &mut World, sessions: usize) -> Result<u64, Failure> {
    let (process, began) = (world.instance_id(), Instant::now());
    let (mut last, mut since) = (resident_bytes(process)?, Instant::now());
    loop {
        sleep(Duration::from_millis(100)).await;
        let now = resident_bytes(process)?;
        if now.abs_diff(last) > last / 1_000 {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > SETTLED && registered(world).await? == sessions {
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
