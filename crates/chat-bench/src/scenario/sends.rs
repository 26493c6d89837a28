//! P5: durable messages per second over HTTP.

use std::time::{Duration, Instant};

use chat_domain::ChannelId;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::bare;
use crate::failure::{Failure, While};
use crate::figure::{Bound, Figure};
use crate::fleet::tally::microseconds;
use crate::http::{Sender, Target};
use crate::quantity::Quantity;
use crate::usage::Meter;
use crate::world::{Bench, Setup, Storage, TEXT_BYTES, World};

/// Times the bare inserts.
const LEAST: Quantity = Quantity::Ratio(0.5);
const SENDERS: usize = 256;
const CHANNELS: usize = 32;
/// Not counted.
const WARM_UP: Duration = Duration::from_secs(2);

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.share_all()?;
    let mut figures = Vec::new();
    for (storage, least) in Storage::BOTH.into_iter().zip([20_000.0, 15_000.0]) {
        eprintln!("  {}, {:?}", storage.name(), bench.scale.measurement);
        let mut world = World::start(bench, Setup::on(storage)).await?;
        let channels = world.create_rooms(CHANNELS).await?;
        all_send(&mut world, &channels, WARM_UP).await?;
        let process = world.system.message_server(0).process_id();
        let meter = Meter::start(&bench.cores, &[process])?;
        let answers = all_send(&mut world, &channels, bench.scale.measurement).await?;
        let usage = meter.end()?;
        let bare = bare::inserts_per_second(&world, bench.scale.round).await?;

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
            Figure::new(what("to bare inserts"), Quantity::Ratio(rate / bare))
                .target("P5", Bound::AtLeast(LEAST))
                .note("a bare insert is one row, 256 in each commit, over one connection, with nothing beside it"),
        );
        figures.push(Figure::new(what("bare inserts per second"), Quantity::PerSecond(bare)));
        figures.push(Figure::new(what("answer, p99"), p99));
        figures.push(Figure::new(what("processor time of the message server, each"), cpu));
    }
    Ok(figures)
}

/// Everybody sends for so long. How long each answer took, in microseconds.
async fn all_send(world: &mut World, channels: &[ChannelId], duration: Duration) -> Result<Histogram<u64>, Failure> {
    let senders = Sender::several(SENDERS, world.message_server()?).await?;
    let until = Instant::now() + duration;
    let mut sending = JoinSet::new();
    for (sender, channel) in senders.into_iter().zip(channels.iter().cycle()) {
        sending.spawn(send(sender, Target::channel(&world.user.token, *channel), until));
    }
    let mut all = microseconds()?;
    while let Some(one) = sending.join_next().await {
        all.add(one.while_doing("a sender")??).while_doing("the times of a sender")?;
    }
    Ok(all)
}

async fn send(mut sender: Sender, target: Target, until: Instant) -> Result<Histogram<u64>, Failure> {
    let (text, mut answers) = ("x".repeat(TEXT_BYTES), microseconds()?);
    loop {
        let began = Instant::now();
        if began >= until {
            return Ok(answers);
        }
        sender.send(&target, &text).await?;
        answers.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
}
