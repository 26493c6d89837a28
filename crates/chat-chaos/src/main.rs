//! Breaks a whole running system under load and checks, from outside alone, that the delivery promise was kept: every
//! acknowledged message reaches every listener once, in order. `cargo xtask chaos` builds what it needs and starts it.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a run that cannot go on has no verdict; its result is printed"
)]

mod act;
mod checker;
mod fault;
mod history;
mod listener;
mod load;
mod outcome;
mod plan;
mod report;
mod world;

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};

use act::{Script, perform};
use fault::{Fault, Redis, Storage};

#[derive(Debug, Parser)]
#[command(name = "chaos", about = "Break a whole running system under load and check the delivery promise")]
struct Arguments {
    /// How long each storage is under fire, over all kinds of Redis.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Repeats the plan of an earlier run. Default: a random one, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Which faults. Default: all that apply.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// How long each fault lasts. Default: 1.5 s to 6 s, as the seed says.
    #[arg(long, value_parser = humantime::parse_duration)]
    fault_length: Option<Duration>,
    /// Where the log is kept.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["sqlite", "postgres"])]
    storage: Vec<Storage>,
    /// How Redis is run; each gets an equal part of the duration.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["sentinel", "cluster", "standalone"])]
    redis: Vec<Redis>,
    /// Messages per second.
    #[arg(long, default_value = "200", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Who sends.
    #[arg(long, default_value = "20", value_parser = at_least_one)]
    senders: usize,
    /// Who listens. Every fifth takes breaks, and every fifth uses the supplied client.
    #[arg(long, default_value = "60", value_parser = at_least_one)]
    listeners: usize,
    /// Between how many channels the messages are shared.
    #[arg(long, default_value = "20", value_parser = at_least_one)]
    channels: usize,
    /// How many of the channels each listener has open.
    #[arg(long, default_value = "4", value_parser = at_least_one)]
    open_channels: usize,
    /// Puts all listeners on one instance, as long as it is there: when it dies, all come back at once.
    #[arg(long)]
    crowded: bool,
    /// Turns the repair of the instances off, which has to end in a broken promise. Needs servers of a debug build.
    #[arg(long)]
    without_repair: bool,
    /// After everything is healed, everything has to be received within this time.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    catch_up: Duration,
    /// Where the histories are written.
    #[arg(long, default_value = "target/chaos")]
    histories: PathBuf,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "at least 1".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Ten thousand listeners have as many sockets, and three times as many with a network that can be broken.
    common_server::raise_file_limit();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let (mut kept, mut done) = (true, BTreeSet::new());
    for storage in &arguments.storage {
        kept &= all_acts(&arguments, *storage, seed, &mut done).await;
    }
    // What was asked for by name has to be done somewhere.
    let in_vain: Vec<_> = arguments.faults.iter().filter(|fault| !done.contains(fault)).collect();
    if !in_vain.is_empty() {
        println!("asked for and not done: {in_vain:?}");
    }
    if kept && in_vain.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An act for each kind of Redis. False if a promise was broken. What was done is added to `all_done`.
async fn all_acts(arguments: &Arguments, storage: Storage, seed: u64, all_done: &mut BTreeSet<Fault>) -> bool {
    let (mut kept, mut done) = (true, BTreeSet::new());
    for redis in &arguments.redis {
        let script = arguments.script(seed, storage, *redis, done.clone());
        if script.faults.is_empty() {
            continue;
        }
        println!("{storage:?}, Redis {redis:?}, {:?}, --seed {seed}", script.duration);
        let outcome = perform(&script).await;
        done.extend(outcome.rounds.iter().flat_map(|round| &round.strikes).map(|strike| strike.fault));
        let folder = arguments.histories.join(format!("{storage:?}-{redis:?}-{seed}").to_lowercase());
        outcome::keep(&folder, &script, &outcome).expect("the histories can be written");
        kept &= outcome::tell(&outcome, &folder);
    }
    let applies = |fault: &Fault| arguments.redis.iter().any(|redis| fault.applies(storage, *redis));
    let missing: Vec<_> = arguments.faults().filter(applies).filter(|fault| !done.contains(fault)).collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.into_iter().map(Fault::name).collect();
        println!("{storage:?}: there was no time for {}\n", names.join(", "));
    }
    all_done.extend(done);
    kept
}

impl Arguments {
    fn faults(&self) -> impl Iterator<Item = Fault> {
        let wanted = if self.faults.is_empty() { Fault::value_variants() } else { &self.faults };
        wanted.iter().copied()
    }

    fn script(&self, seed: u64, storage: Storage, redis: Redis, done: BTreeSet<Fault>) -> Script {
        let acts = u32::try_from(self.redis.len()).unwrap_or(u32::MAX);
        Script {
            storage,
            redis,
            seed,
            duration: self.duration / acts,
            faults: self.faults().filter(|fault| fault.applies(storage, redis)).collect(),
            done,
            length: self.fault_length,
            catch_up: self.catch_up,
            rate: self.rate,
            senders: self.senders,
            listeners: self.listeners,
            channels: self.channels,
            open_channels: self.open_channels.min(self.channels),
            crowded: self.crowded,
            repair: !self.without_repair,
        }
    }
}
