//! P5: durable messages per second over HTTP.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::bare::Bare;
use crate::failure::{Failure, While};
use crate::figure::{Bound, Figure};
use crate::fleet::tally::microseconds;
use crate::http::{Sender, Target};
use crate::quantity::{Quantity, median};
use crate::usage::{Meter, Usage};
use crate::world::{Bench, Setup, Storage, TEXT_BYTES, World};

/// Times the bare inserts.
const LEAST: Quantity = Quantity::Ratio(0.5);
const SENDERS: usize = 256;
const CHANNELS: usize = 32;
/// Not counted.
const WARM_UP: Duration = Duration::from_secs(2);
/// Sends and bare inserts are measured by turns, which are shorter than most of what disturbs the machine.
const TURN: Duration = Duration::from_secs(1);
const BARE_TURN: Duration = Duration::from_millis(500);

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.share_all()?;
    let mut figures = Vec::new();
    for (storage, least) in Storage::BOTH.into_iter().zip([20_000.0, 15_000.0]) {
        eprintln!("  {}, {:?}", storage.name(), bench.scale.measurement);
        let Turns { answers, usages, bare, ratios } = by_turns(bench, Setup::on(storage)).await?;
        let usage = Usage::together(&usages);
        let middle = |all| median(all).ok_or_else(|| Failure::new("nothing was measured"));

        let rate = answers.len() as f64 / usage.wall.as_secs_f64();
        let what = |part: &str| format!("durable sends, {}, {part}", storage.name());
        let p99 = Quantity::Milliseconds(answers.value_at_quantile(0.99) as f64 / 1e3);
        let cpu = Quantity::Microseconds(usage.cpu.as_secs_f64() * 1e6 / answers.len() as f64);
        figures.push(
            Figure::new(what("per second"), Quantity::PerSecond(rate))
                .target("P5", Bound::AtLeast(Quantity::PerSecond(least)))
                .note(format!("{SENDERS} senders to {CHANNELS} channels, each with one request at a time"))
                .note(usage.shares("the message server")),
        );
        figures.push(
            Figure::new(what("to bare inserts"), Quantity::Ratio(middle(ratios)?))
                .target("P5", Bound::AtLeast(LEAST))
                .note("a bare insert is a message, its event and its number in the channel, 256 in each commit, and nothing else"),
        );
        figures.push(Figure::new(what("bare inserts per second"), Quantity::PerSecond(middle(bare)?)));
        figures.push(Figure::new(what("answer, p99"), p99));
        figures.push(Figure::new(what("processor time of the message server, each"), cpu));
    }
    Ok(figures)
}

/// What was measured of sends and bare inserts, by turns.
struct Turns {
    /// How long each answer took, in microseconds.
    answers: Histogram<u64>,
    usages: Vec<Usage>,
    /// Per second, of each turn.
    bare: Vec<f64>,
    /// Of sends to the bare inserts after them.
    ratios: Vec<f64>,
}

async fn by_turns(bench: &mut Bench, setup: Setup) -> Result<Turns, Failure> {
    let mut world = World::start(bench, setup).await?;
    let mut senders = senders(&mut world).await?;
    let rooms = world.create_rooms(CHANNELS).await?;
    let mut bare = Bare::open(&world, &rooms).await?;
    all_send(&mut senders, WARM_UP).await?;

    let process = world.system.message_server(0).process_id();
    let mut turns = Turns { answers: microseconds()?, usages: Vec::new(), bare: Vec::new(), ratios: Vec::new() };
    let mut left = bench.scale.measurement;
    while !left.is_zero() {
        let meter = Meter::start(&bench.cores, &[process])?;
        let answers = all_send(&mut senders, TURN.min(left)).await?;
        let usage = meter.end()?;
        bare.settle().await?;
        let inserts = bare.per_second(BARE_TURN).await?;
        bare.settle().await?;
        turns.ratios.push(answers.len() as f64 / usage.wall.as_secs_f64() / inserts);
        turns.answers.add(&answers).while_doing("the times of a turn")?;
        turns.usages.push(usage);
        turns.bare.push(inserts);
        left = left.saturating_sub(TURN);
    }
    Ok(turns)
}

/// With the channel of each.
async fn senders(world: &mut World) -> Result<Vec<(Sender, Target)>, Failure> {
    let channels = world.create_rooms(CHANNELS).await?;
    let targets = channels.iter().map(|channel| Target::channel(&world.user.token, *channel));
    let targets: Vec<_> = targets.cycle().take(SENDERS).collect();
    Ok(Sender::several(SENDERS, world.message_server()?).await?.into_iter().zip(targets).collect())
}

/// Everybody sends for so long. How long each answer took, in microseconds.
async fn all_send(senders: &mut Vec<(Sender, Target)>, duration: Duration) -> Result<Histogram<u64>, Failure> {
    let until = Instant::now() + duration;
    let mut sending: JoinSet<_> = senders.drain(..).map(|(sender, target)| send(sender, target, until)).collect();
    let mut all = microseconds()?;
    while let Some(one) = sending.join_next().await {
        let (sender, target, answers) = one.while_doing("a sender")??;
        all.add(answers).while_doing("the times of a sender")?;
        senders.push((sender, target));
    }
    Ok(all)
}

async fn send(mut sender: Sender, target: Target, until: Instant) -> Result<(Sender, Target, Histogram<u64>), Failure> {
    let (text, mut answers) = ("x".repeat(TEXT_BYTES), microseconds()?);
    loop {
        let began = Instant::now();
        if began >= until {
            return Ok((sender, target, answers));
        }
        sender.send(&target, &text).await?;
        answers.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
}
