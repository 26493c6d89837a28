//! P8: an instance dies and all that it served come back to another one at once, with their positions.

use std::time::{Duration, Instant};

use chat_domain::ChannelId;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tokio::time::sleep;

use crate::failure::{Failure, While};
use crate::figure::{Bound, Figure};
use crate::fleet::tally::Tally;
use crate::fleet::{Fleet, Seat};
use crate::http::{Sender, Target};
use crate::load::{Crowd, Load};
use crate::quantity::Quantity;
use crate::world::{Bench, Setup, Storage, TEXT_BYTES, World};

/// Sessions in each room.
const PER_ROOM: usize = 100;
/// Rooms that go on meanwhile, on the instance that survives.
const LIVE_ROOMS: usize = 5;
const LIVE_READERS: usize = 20;
const LIVE_PER_SECOND: f64 = 100.0;
const SENDERS: usize = 20;
/// Live traffic before the instance dies.
const BEFORE: Duration = Duration::from_secs(1);
/// The storm is over then, whoever is back.
const PATIENCE: Duration = Duration::from_secs(40);
const RESUMED: Quantity = Quantity::Milliseconds(5_000.0);
const P99: Quantity = Quantity::Milliseconds(250.0);

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.share_all()?;
    let mut world = World::start(bench, Setup { instances: 2, ..Setup::on(Storage::Postgres) }).await?;
    let clients = bench.scale.storm_connections;
    eprintln!("  {clients} clients connect");
    let rooms = Rooms::new(&mut world, clients).await?;
    let fleet = Fleet::join(rooms.seats(&mut world, clients, 0, None)?, Tally::default()).await?;
    let seats = rooms.seats(&mut world, clients, 1, Some(&rooms.heads))?;
    let crowd = Crowd { instance: 1, rooms: LIVE_ROOMS, readers: LIVE_READERS, senders: SENDERS, timed: true };
    let mut live = Load::on_chat(&mut world, crowd).await?;
    let tally = std::sync::Arc::clone(&live.fleet.tally);

    let storm = async {
        sleep(BEFORE).await;
        world.system.websocket_server(0).kill();
        fleet.leave().await;
        // What everybody missed.
        rooms.send_one_to_each(&mut world).await?;
        eprintln!("  the instance is dead, and all of them come back");
        tally.take_delays();
        let began = Instant::now();
        let back = Fleet::storm(seats, Tally::default(), PATIENCE).await?;
        let took = began.elapsed();
        let meanwhile = tally.take_delays();
        if back.size() == clients {
            back.tally.reach(clients as u64).await?;
        }
        Ok::<_, Failure>((took, meanwhile, (back.size(), back.tally.refusals())))
    };
    let ((took, meanwhile, (resumed, refusals)), _) =
        futures_util::try_join!(storm, live.steady(LIVE_PER_SECOND, bench.scale.storm))?;
    let outlasted = BEFORE + took > bench.scale.storm;
    let outlasted = outlasted.then(|| "the live traffic ended before the last one was back".to_owned());
    let meanwhile: Histogram<u64> =
        meanwhile.filter(|delays| !delays.is_empty()).ok_or_else(|| Failure::new("nothing was delivered meanwhile"))?;
    let at = |quantile| Quantity::Milliseconds(meanwhile.value_at_quantile(quantile) as f64 / 1e3);
    Ok(vec![
        Figure::new("all resumed after an instance died", Quantity::Milliseconds(took.as_secs_f64() * 1e3))
            .target("P8", Bound::AtMost(RESUMED))
            .note(format!(
                "{resumed} of {clients} clients were back, in {} rooms, all at the same time to the one that is left, \
                 each with a position and one message missed; {refusals} times one was refused or closed and came \
                 again; the client shares the cores",
                rooms.ids.len()
            )),
        Figure::new("live delivery meanwhile, p99", at(0.99))
            .target("P8", Bound::AtMost(P99))
            .note(format!(
                "from HTTP send to WebSocket receive, {LIVE_PER_SECOND}/s to {LIVE_ROOMS} other rooms, {} deliveries, \
                 PostgreSQL",
                meanwhile.len()
            ))
            .notes(outlasted),
        Figure::new("live delivery meanwhile, p50", at(0.5)),
    ])
}

/// Those of the instance that dies.
struct Rooms {
    ids: Vec<ChannelId>,
    /// The last number in each.
    heads: Vec<u64>,
}

impl Rooms {
    async fn new(world: &mut World, clients: usize) -> Result<Self, Failure> {
        let mut rooms = Self { ids: world.create_rooms(clients.div_ceil(PER_ROOM)).await?, heads: Vec::new() };
        // A position is one in a log that has something.
        rooms.send_one_to_each(world).await?;
        for room in &rooms.ids {
            let events = world.user.api.events(*room, 0, 100).await;
            let head = events.last().and_then(|event| event["seq"].as_u64());
            rooms.heads.push(head.ok_or_else(|| Failure::new("a channel with a message has no event"))?);
        }
        Ok(rooms)
    }

    /// From now on, or from these positions.
    fn seats(
        &self,
        world: &mut World,
        clients: usize,
        instance: usize,
        after: Option<&[u64]>,
    ) -> Result<Vec<Seat>, Failure> {
        let address = world.instance(instance)?;
        let seat = |number: usize| {
            let (place, token) = (number % self.ids.len(), world.token(number));
            match after {
                Some(after) => Seat::resuming(address, &token, self.ids[place], after[place]),
                None => Seat::in_room(address, &token, self.ids[place]),
            }
        };
        Ok((0..clients).map(seat).collect())
    }

    async fn send_one_to_each(&self, world: &mut World) -> Result<(), Failure> {
        let mut senders = Sender::several(SENDERS, world.message_server()?).await?;
        let text = "x".repeat(TEXT_BYTES);
        let sending = senders.iter_mut().enumerate().map(async |(first, sender)| {
            for room in self.ids.iter().skip(first).step_by(SENDERS) {
                sender.send(&Target::channel(&world.user.token, *room), &text).await?;
            }
            Ok::<_, Failure>(())
        });
        try_join_all(sending).await.map(drop).while_doing("a message to each room")
    }
}
