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
mod plan;
mod report;
mod world;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, ValueEnum};

use act::{Outcome, Script, perform};
use fault::{Fault, Redis, Storage};
use history::write_lines;

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
    let mut kept = true;
    for storage in &arguments.storage {
        for redis in &arguments.redis {
            let Some(script) = arguments.script(seed, *storage, *redis) else {
                println!("none of the faults applies to {storage:?} with {redis:?}\n");
                continue;
            };
            println!("{storage:?}, Redis {redis:?}, {:?}, --seed {seed}", script.duration);
            let outcome = perform(&script).await;
            let folder = arguments.histories.join(format!("{storage:?}-{redis:?}-{seed}").to_lowercase());
            keep(&folder, &script, &outcome).expect("the histories can be written");
            kept &= tell(&outcome, &folder);
        }
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Arguments {
    fn script(&self, seed: u64, storage: Storage, redis: Redis) -> Option<Script> {
        let wanted = if self.faults.is_empty() { Fault::value_variants() } else { &self.faults };
        let faults: Vec<_> = wanted.iter().copied().filter(|fault| fault.applies(storage, redis)).collect();
        let acts = u32::try_from(self.redis.len()).unwrap_or(u32::MAX);
        (!faults.is_empty()).then(|| Script {
            storage,
            redis,
            seed,
            duration: self.duration / acts,
            faults,
            length: self.fault_length,
            catch_up: self.catch_up,
            rate: self.rate,
            senders: self.senders,
            listeners: self.listeners,
            channels: self.channels,
            open_channels: self.open_channels.min(self.channels),
            repair: !self.without_repair,
        })
    }
}

/// Everything that the checker knew, and what the servers logged.
fn keep(folder: &Path, script: &Script, outcome: &Outcome) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    write_lines(&folder.join("script.jsonl"), std::slice::from_ref(script))?;
    write_lines(&folder.join("faults.jsonl"), &outcome.rounds)?;
    write_lines(&folder.join("acknowledged.jsonl"), &outcome.sent.acknowledged)?;
    write_lines(&folder.join("violations.jsonl"), &outcome.violations)?;
    write_lines(&folder.join("memory.jsonl"), &outcome.memory)?;
    for journal in &outcome.journals {
        write_lines(&folder.join(format!("{}.jsonl", journal.listener)), &journal.receipts)?;
    }
    for (name, log) in &outcome.logs {
        fs::write(folder.join(format!("{}.log", name.replace(' ', "-"))), log)?;
    }
    Ok(())
}

/// Prints the result. False if a promise was broken.
fn tell(outcome: &Outcome, folder: &Path) -> bool {
    const MANY: usize = 20;
    let Outcome { rounds, sent, journals, violations, memory, .. } = outcome;
    println!("{}", report::Table(&report::lines(sent, journals, rounds, violations)));
    let connections: u32 = journals.iter().map(|journal| journal.connections).sum();
    println!(
        "{} acknowledged, {} of them after retries, {} sent again on purpose; {} listeners, {connections} connections",
        sent.acknowledged.len(),
        sent.retried,
        sent.repeated,
        journals.len(),
    );
    for server in memory {
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let (first, most, last) = (megabytes(server.first), megabytes(server.most), megabytes(server.last));
        println!("  memory of {}: {first} MB at first, {most} MB at most, {last} MB at last", server.server);
    }
    let complaints: Vec<_> = sent.complaints.iter().chain(journals.iter().flat_map(|one| &one.complaints)).collect();
    for complaint in complaints.iter().take(MANY) {
        println!("  unexpected: {complaint}");
    }
    for violation in violations.iter().take(MANY) {
        println!("  broken: {violation:?}");
    }
    let kept = violations.is_empty() && complaints.is_empty() && !sent.acknowledged.is_empty();
    println!(
        "{}: {} broken promises, {} unexpected answers; histories in {}\n",
        if kept { "promise kept" } else { "PROMISE BROKEN" },
        violations.len(),
        complaints.len(),
        folder.display()
    );
    kept
}
