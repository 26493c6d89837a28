//! Measures a whole running system of real processes, and beside it what the machine can do at all, so that a figure is a
//! ratio that means the same on a slower or busier machine. `cargo xtask bench` builds what it needs and starts it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "progress and the report are printed")]

mod bare;
mod baseline;
mod cores;
mod counter;
mod daemon;
mod failure;
mod figure;
mod fleet;
mod http;
mod load;
mod machine;
mod peers;
mod plot;
mod process;
mod quantity;
mod raw;
mod report;
mod scale;
mod scenario;
mod timetable;
mod usage;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::baseline::Baseline;
use crate::cores::Cores;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::peers::Programs;
use crate::report::Report;
use crate::scale::Scale;
use crate::scenario::Scenario;
use crate::world::Bench;

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measure a whole running system, as ratios to what this machine can do at all")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Which scenarios. Default: all.
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// What is measured beside it, in fanout, idle and latency. Default: nothing.
    #[arg(long, value_enum, value_delimiter = ',')]
    peer: Vec<peers::Kind>,
    #[command(flatten)]
    programs: Programs,
    /// What the servers were built from, for the report.
    #[arg(long, hide = true, env = "CHAT_BENCH_COMMIT")]
    commit: Option<String>,
    /// Fails when a ratio is more than twice as bad as in this file.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Writes the ratios that were measured into this file, to compare others with.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Fewer connections and seconds, and less exact.
    #[arg(long)]
    quick: bool,
    /// Ends with exit code 1 when a ratio misses its target. Absolute figures are never a failure: machines differ.
    #[arg(long)]
    check: bool,
    /// Connections in a room, instead of those of the scale.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    connections: Option<u32>,
    /// How long each measurement takes, instead of that of the scale.
    #[arg(long, value_parser = long_enough)]
    duration: Option<Duration>,
    /// Where report.json and report.md are written.
    #[arg(long, default_value = "target/bench")]
    report: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The reference that fan-out is compared with; started by a run, of no use alone.
    #[command(hide = true)]
    RawServer {
        /// Length of the text in each frame.
        #[arg(long)]
        payload: usize,
    },
}

/// Processor time is counted in hundredths of a second: what is shorter tells nothing.
fn long_enough(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < Duration::from_millis(500) { Err("at least 500ms".to_owned()) } else { Ok(duration) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::RawServer { payload }) => raw::serve(payload).map(|()| true),
        None => measure(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure(message)) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// False if a target was missed that was to be checked.
fn measure(arguments: &Arguments) -> Result<bool, Failure> {
    // A figure of an unoptimised build says nothing; a test looks at other things.
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures are not comparable with anything");
    }
    common_server::raise_file_limit();
    let scale = Scale::new(arguments.quick, arguments.connections, arguments.duration);
    let mut bench = Bench {
        cores: Cores::of_this_process()?,
        scale,
        peers: arguments.peer.clone(),
        programs: arguments.programs.clone(),
        folder: arguments.report.clone(),
        versions: BTreeMap::from([("chat".to_owned(), version(arguments.commit.as_deref()))]),
    };
    let scenarios = if arguments.scenario.is_empty() { Scenario::value_variants() } else { &arguments.scenario };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;

    let began = Instant::now();
    let mut report = Report::new(Machine::look(&bench.cores)?, scale);
    for scenario in scenarios {
        eprintln!("=== {}", scenario.name());
        let began = Instant::now();
        let figures = runtime.block_on(unless_interrupted(scenario.run(&mut bench)))?;
        figures.iter().for_each(|figure| eprintln!("  {figure}"));
        report.add(scenario.name(), began.elapsed(), figures)?;
    }
    report.end(began.elapsed(), bench.versions);
    report.write(&arguments.report)?;
    println!("\n{}", report.markdown());
    println!("written to {}", arguments.report.display());
    let ratios = Baseline::of(report.figures());
    if let Some(file) = &arguments.record {
        ratios.write(file)?;
        println!("recorded in {}", file.display());
    }
    let missed = if arguments.check { report.missed_ratios() } else { Vec::new() };
    if !missed.is_empty() {
        eprintln!("missed: {}", missed.join(", "));
    }
    let regressions = match &arguments.against {
        Some(file) => Baseline::read(file)?.regressions(report.figures()),
        None => Vec::new(),
    };
    regressions.iter().for_each(|regression| eprintln!("regressed: {regression}"));
    Ok(missed.is_empty() && regressions.is_empty())
}

/// Ends a scenario and all that it started when the process is asked to end.
async fn unless_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = work => done,
        _ = terminated.recv() => Err(Failure::new("interrupted")),
        _ = interrupted.recv() => Err(Failure::new("interrupted")),
    }
}

fn version(commit: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    commit.map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"))
}
