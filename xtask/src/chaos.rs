//! `cargo xtask chaos`: builds the servers and the program that breaks them, and starts it.

use std::process::Command;

use crate::outcome::Outcome;
use crate::packages::Policy;
use crate::shell::{cargo, root, run, target};
use crate::tools;

/// What has to be built.
const PACKAGES: [&str; 3] = ["chat-chaos", "chat-message-server", "chat-websocket-server"];

#[derive(clap::Args)]
// `--help` is for the program itself, which knows the faults.
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Breaks a debug build instead of a release build. `--without-repair` needs it.
    #[arg(long)]
    debug: bool,
    /// Say how to install what is missing instead of installing it.
    #[arg(long)]
    no_install: bool,
    /// Passed on, as in `--duration 10m --seed 1`; `--help` lists it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    chaos: Vec<String>,
}

impl Arguments {
    pub(crate) fn of_debug_build(no_install: bool, chaos: &[&str]) -> Self {
        Self { debug: true, no_install, chaos: chaos.iter().map(|&argument| argument.to_owned()).collect() }
    }
}

pub(crate) fn chaos(arguments: &Arguments) -> Outcome {
    let policy = if arguments.no_install { Policy::OnlySay } else { Policy::Install };
    let (redis, postgres) = (tools::redis(policy)?, tools::postgres(policy)?);
    let (profile, folder) = if arguments.debug { ("dev", "debug") } else { ("release", "release") };

    let mut build = cargo();
    build.current_dir(root()).args(["build", "--locked", "--profile", profile]);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    run(&mut build)?;
    let mut program = Command::new(target().join(folder).join("chat-chaos"));
    program.current_dir(root()).args(&arguments.chaos);
    run(program.env("CHAT_TEST_REDIS_SERVER", redis).env("CHAT_TEST_POSTGRES_BINARIES", postgres))
}
