//! `cargo xtask up`: the whole system on this machine.

mod greeting;
mod plan;
mod setup;
mod start;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::child::{Server, stop_all};
use crate::interrupt::Interrupt;
use crate::outcome::{Outcome, While, failure};
use crate::packages::Policy;
use crate::shell::{cargo, root, run};
use crate::ui::{say, seconds};
use crate::{ports, secret, tools};
use plan::Plan;

/// The data folder when none is given, inside the workspace.
pub(crate) const DEFAULT_DATA: &str = "target/up";

const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many WebSocket instances to run.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=50))]
    instances: u16,
    /// Where messages are kept.
    #[arg(long, value_enum, default_value_t = Storage::Sqlite)]
    storage: Storage,
    /// Where data, logs and the secret are kept from run to run.
    #[arg(long, default_value = DEFAULT_DATA)]
    data_dir: PathBuf,
    /// The port of the HTTP API and the demo page. Its management port is 1000 higher.
    #[arg(long, default_value_t = 20001, value_parser = clap::value_parser!(u16).range(1..=64000))]
    http_port: u16,
    /// The port of the first WebSocket instance; the others follow. Their management ports are 1000 higher.
    #[arg(long, default_value_t = 20002, value_parser = clap::value_parser!(u16).range(1..=64000))]
    ws_port: u16,
    /// The port of the private Redis.
    #[arg(long, default_value_t = 20379)]
    redis_port: u16,
    /// The port of the private PostgreSQL.
    #[arg(long, default_value_t = 20432)]
    postgres_port: u16,
    /// Say how to install a missing server instead of installing it.
    #[arg(long)]
    no_install: bool,
    /// Use what was built before.
    #[arg(long)]
    no_build: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Storage {
    Sqlite,
    Postgres,
}

pub(crate) fn up(arguments: &Arguments) -> Outcome {
    let interrupt = Interrupt::install()?;
    let policy = if arguments.no_install { Policy::OnlySay } else { Policy::Install };
    let plan = Plan::new(arguments);
    ports::check(&plan.ports())?;
    let redis = tools::redis(policy)?;
    let postgres = match arguments.storage {
        Storage::Postgres => Some(tools::postgres(policy)?),
        Storage::Sqlite => None,
    };
    if !arguments.no_build {
        build()?;
    }

    let built = Instant::now();
    let logs = plan.data.join("logs");
    fs::create_dir_all(&logs).while_doing(logs.display())?;
    let secret = secret::read_or_make(&plan.data)?;
    let mut running = Running::default();
    running.start(&plan, &secret, &redis, postgres.as_deref(), &interrupt)?;
    let demo = setup::demo_data(&plan)?;
    say(format!("  ✓ ready {} after the build\n", seconds(built.elapsed())));
    greeting::print(&plan, &demo);
    running.watch(&interrupt)
}

fn build() -> Outcome {
    say("Building the servers (release) …");
    let mut command = cargo();
    command.current_dir(root()).args(["build", "--release", "--locked"]);
    for server in ["chat-message-server", "chat-websocket-server"] {
        command.args(["--package", server, "--bin", server]);
    }
    run(&mut command)
}

/// All processes, in two tiers: the second is needed by the first and stops after it. Dropping it stops both.
#[derive(Default)]
struct Running {
    servers: Vec<Server>,
    stores: Vec<Server>,
}

impl Running {
    /// Waits until somebody asks to stop, or a process ends by itself.
    fn watch(&mut self, interrupt: &Interrupt) -> Outcome {
        while !interrupt.came() {
            self.all_run()?;
            std::thread::sleep(POLL_INTERVAL);
        }
        say("\nStopping …");
        let begun = Instant::now();
        let mut forced = stop_all(&mut self.servers);
        forced.extend(stop_all(&mut self.stores));
        if !forced.is_empty() {
            return failure(format!("had to be killed: {}", forced.join(", ")));
        }
        say(format!("Stopped in {}.", seconds(begun.elapsed())));
        Ok(())
    }

    /// Fails when a process has ended, with the end of its log.
    fn all_run(&mut self) -> Outcome {
        for server in self.stores.iter_mut().chain(&mut self.servers) {
            if let Some(status) = server.ended() {
                let (name, log, tail) = (&server.name, server.log.display(), server.tail());
                return failure(format!("{name} ended with {status}; all else is stopped. From {log}:\n{tail}"));
            }
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        stop_all(&mut self.servers);
        stop_all(&mut self.stores);
    }
}
