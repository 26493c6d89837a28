//! `cargo xtask bench`: builds the servers and the program that measures them, and starts it.

use std::process::Command;

use crate::outcome::Outcome;
use crate::packages::Policy;
use crate::shell::{cargo, root, run, target};
use crate::tools;

/// What has to be built.
const PACKAGES: [&str; 3] = ["chat-bench", "chat-message-server", "chat-websocket-server"];

#[derive(clap::Args)]
// `--help` is for the program itself, which knows the scenarios.
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Say how to install what is missing instead of installing it.
    #[arg(long)]
    no_install: bool,
    /// Passed on, as in `--quick --scenario fanout`; `--help` lists it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    bench: Vec<String>,
}

pub(crate) fn bench(arguments: &Arguments) -> Outcome {
    let policy = if arguments.no_install { Policy::OnlySay } else { Policy::Install };
    let (redis, postgres) = (tools::redis(policy)?, tools::postgres(policy)?);
    let mut build = cargo();
    build.current_dir(root()).args(["build", "--locked", "--release"]);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    run(&mut build)?;
    let mut program = Command::new(target().join("release").join("chat-bench"));
    program.current_dir(root()).args(&arguments.bench);
    run(program.env("CHAT_TEST_REDIS_SERVER", redis).env("CHAT_TEST_POSTGRES_BINARIES", postgres))
}
