//! `cargo xtask bench`: builds the servers and the program that measures them, and starts it.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::outcome::{Outcome, failure};
use crate::packages::Policy;
use crate::shell::{cargo, output, root, run, shown, target};
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
    let mut program = built(arguments)?;
    // It takes the place of this process, and so gets the signals that end it and all that it started.
    failure(format!("{}: {}", shown(&program), program.exec()))
}

/// As part of something larger.
pub(crate) fn check(no_install: bool, bench: &[&str]) -> Outcome {
    let bench = bench.iter().map(|&argument| argument.to_owned()).collect();
    run(&mut built(&Arguments { no_install, bench })?)
}

/// The program, ready to be started.
fn built(arguments: &Arguments) -> Outcome<Command> {
    let policy = if arguments.no_install { Policy::OnlySay } else { Policy::Install };
    let (redis, postgres) = (tools::redis(policy)?, tools::postgres(policy)?);
    let peers = peers(&arguments.bench, policy)?;
    let mut build = cargo();
    build.current_dir(root()).args(["build", "--locked", "--release"]);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    run(&mut build)?;
    let mut program = Command::new(target().join("release").join("chat-bench"));
    program.current_dir(root()).args(&arguments.bench).envs(peers);
    program.env("CHAT_TEST_REDIS_SERVER", redis).env("CHAT_TEST_POSTGRES_BINARIES", postgres);
    if let Some(commit) = commit() {
        program.env("CHAT_BENCH_COMMIT", commit);
    }
    Ok(program)
}

/// What the servers were built from, where this is a checkout.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| output(Command::new("git").args(arguments).current_dir(root())).ok();
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit} with changes") })
}

/// Where the peers are that are asked for, as in `--peer socketio,nchan`.
fn peers(bench: &[String], policy: Policy) -> Outcome<Vec<(&'static str, PathBuf)>> {
    let mut variables = Vec::new();
    if names(bench, "socketio") {
        let socketio = tools::socketio(policy)?;
        variables.extend([("CHAT_BENCH_NODE", socketio.node), ("CHAT_BENCH_SOCKETIO", socketio.folder)]);
    }
    if names(bench, "nchan") {
        let (nginx, module) = tools::nchan(policy)?;
        variables.extend([("CHAT_BENCH_NGINX", nginx), ("CHAT_BENCH_NCHAN_MODULE", module)]);
    }
    Ok(variables)
}

fn names(bench: &[String], peer: &str) -> bool {
    let after =
        bench.iter().zip(bench.iter().skip(1)).filter(|(flag, _)| *flag == "--peer").map(|(_, value)| value.as_str());
    let joined = bench.iter().filter_map(|argument| argument.strip_prefix("--peer="));
    after.chain(joined).any(|value| value.split(',').any(|name| name == peer))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn peers_are_named_one_by_one_or_together() {
        let bench = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(names(&bench("--quick --peer socketio,nchan"), "nchan"));
        assert!(names(&bench("--peer=socketio --peer nchan"), "socketio"));
        assert!(!names(&bench("--peer socketio --scenario nchan"), "nchan"));
    }
}
