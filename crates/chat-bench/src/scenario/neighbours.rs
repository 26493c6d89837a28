//! P10: what a very large room takes from small ones on the same instance.

use std::cell::Cell;
use std::time::Duration;

use futures_util::try_join;
use tokio::time::{MissedTickBehavior, interval};

use super::latency::milliseconds;
use crate::failure::Failure;
use crate::figure::{Bound, Figure};
use crate::fleet::tally::Tally;
use crate::fleet::{Fleet, Seat};
use crate::http::{Sender, Target};
use crate::load::{Crowd, Load};
use crate::quantity::{Quantity, median};
use crate::world::{Bench, Setup, TEXT_BYTES, World};

/// Small rooms, and sessions in each.
const ROOMS: usize = 20;
const READERS: usize = 10;
const SENDERS: usize = 20;
/// Messages to small rooms.
const PER_SECOND: f64 = 100.0;
/// Between two messages to the large room. With ten thousand sessions, the instance writes for about a quarter of it: far more
/// than the hundredth that the figure leaves out.
const BETWEEN: Duration = Duration::from_millis(500);
/// Not counted.
const WARM_UP: Duration = Duration::from_secs(2);
const MOST: Quantity = Quantity::Milliseconds(5.0);

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.spare_the_measured()?;
    let mut world = World::start(bench, Setup::measured(bench.cores.measured())).await?;
    let mut large = LargeRoom::fill(&mut world, bench.scale.idle_connections).await?;
    let crowd = Crowd { instance: 0, rooms: ROOMS, readers: READERS, senders: SENDERS, timed: true };
    let mut small = Load::on_chat(&mut world, crowd).await?;
    p99(&mut small, WARM_UP).await?;

    let (mut alone, mut beside, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=bench.scale.rounds {
        let without = p99(&mut small, bench.scale.round).await?;
        let over = Cell::new(false);
        let measured = async {
            let with = p99(&mut small, bench.scale.round).await?;
            over.set(true);
            Ok(with)
        };
        let (with, ()) = try_join!(measured, large.talk(&over))?;
        eprintln!("  {number}/{}: alone {without:.2} ms, beside a large room {with:.2} ms", bench.scale.rounds);
        alone.push(without);
        beside.push(with);
        added.push((with - without).max(0.0));
    }
    let middle = |all| median(all).map(Quantity::Milliseconds).ok_or_else(|| Failure::new("nothing was measured"));
    let what = |part: &str| format!("delivery in small rooms, p99, {part}");
    Ok(vec![
        Figure::new(what("added by a large one"), middle(added)?).target("P10", Bound::AtMost(MOST)).note(format!(
            "{} messages to a room with {} sessions, each for all of them before the next; {PER_SECOND}/s to {ROOMS} \
                 rooms with {READERS} sessions each; the instance has one core, and what is written to the large room \
                 takes the client time too",
            large.messages,
            large.fleet.size()
        )),
        Figure::new(what("beside a large one"), middle(beside)?),
        Figure::new(what("alone"), middle(alone)?),
    ])
}

/// Of the deliveries in small rooms, in milliseconds.
async fn p99(small: &mut Load, duration: Duration) -> Result<f64, Failure> {
    Ok(milliseconds(&small.delays(PER_SECOND, duration).await?, 0.99).value())
}

/// A room with all its sessions, and who sends there.
struct LargeRoom {
    fleet: Fleet,
    sender: Sender,
    target: Target,
    /// That came to all sessions.
    messages: usize,
}

impl LargeRoom {
    async fn fill(world: &mut World, sessions: usize) -> Result<Self, Failure> {
        let room = world.user.api.create_channel("PUBLIC", "large", &[]).await;
        let instance = world.instance(0)?;
        let seats = (0..sessions).map(|number| Seat::in_room(instance, &world.token(number), room)).collect();
        Ok(Self {
            fleet: Fleet::join_aloof(seats, Tally::default()).await?,
            sender: Sender::connect(world.message_server()?).await?,
            target: Target::channel(&world.user.token, room),
            messages: 0,
        })
    }

    /// Sends until it is over and everybody has everything.
    async fn talk(&mut self, over: &Cell<bool>) -> Result<(), Failure> {
        let text = "x".repeat(TEXT_BYTES);
        let mut ticks = interval(BETWEEN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !over.get() {
            ticks.tick().await;
            let goal = self.fleet.goal(1);
            self.sender.send(&self.target, &text).await?;
            self.fleet.tally.reach(goal).await?;
            self.messages += 1;
        }
        Ok(())
    }
}
