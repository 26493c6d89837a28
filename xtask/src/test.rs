//! `cargo xtask test`: everything that the tests need, then all of them.

mod environment;
mod tally;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt::Interrupt;
use crate::outcome::{Outcome, While, failure};
use crate::packages::Policy;
use crate::shell::{cargo, root, run};
use crate::ui::{say, seconds};
use environment::Environment;
use tally::Tally;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Say how to install what is missing instead of installing it.
    #[arg(long)]
    no_install: bool,
    /// Passed on to `cargo test`, as in `-- -p chat-storage some_test`.
    #[arg(last = true)]
    cargo_test: Vec<String>,
}

impl Arguments {
    pub(crate) fn everything(no_install: bool) -> Self {
        Self { no_install, cargo_test: Vec::new() }
    }
}

pub(crate) fn test(arguments: &Arguments) -> Outcome {
    let interrupt = Interrupt::install()?;
    let policy = if arguments.no_install { Policy::OnlySay } else { Policy::Install };
    let environment = Environment::set_up(policy)?;

    // Some tests start the servers' programs, which `cargo test` alone need not build. Building all targets here shares
    // every artefact with the tests.
    let mut build = cargo();
    run(build.current_dir(root()).args(["build", "--workspace", "--all-targets", "--locked"]))?;

    let started = Instant::now();
    let mut command = cargo();
    command.current_dir(root()).args(["test", "--no-fail-fast", "--locked"]);
    if !names_a_package(&arguments.cargo_test) {
        command.arg("--workspace");
    }
    command.args(&arguments.cargo_test).envs(environment.variables());
    let (tally, succeeded) = run_counting(&mut command, &interrupt)?;
    drop(environment);

    say(format!("\n{tally} ({})", seconds(started.elapsed())));
    for name in tally.failures() {
        say(format!("  failed: {name}"));
    }
    if interrupt.came() {
        return failure("interrupted");
    }
    if succeeded { Ok(()) } else { failure("tests failed") }
}

fn names_a_package(arguments: &[String]) -> bool {
    let before_filter = arguments.iter().take_while(|argument| *argument != "--");
    before_filter.into_iter().any(|argument| argument == "-p" || argument.starts_with("--package"))
}

/// Runs the tests with their output shown, and adds up the results. An interrupt ends all that runs.
fn run_counting(command: &mut Command, interrupt: &Interrupt) -> Outcome<(Tally, bool)> {
    // A group of its own, so that one signal reaches Cargo, the tests and the servers that they started.
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .while_doing("starting cargo test")?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let finished = AtomicBool::new(false);
    let mut tally = Tally::default();
    let status = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !finished.load(Ordering::Relaxed) {
                if let (true, Some(group)) = (interrupt.came(), group) {
                    let _ = kill_process_group(group, Signal::TERM);
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let lines = child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).split(b'\n'));
        for line in lines.map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            tally.read(&line);
            say(line);
        }
        let status = child.wait();
        finished.store(true, Ordering::Relaxed);
        status
    });
    Ok((tally, status.while_doing("waiting for cargo test")?.success()))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_named_package_is_tested_alone() {
        let arguments = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(names_a_package(&arguments("-p chat-storage")));
        assert!(names_a_package(&arguments("--package=chat-storage -- name")));
        assert!(!names_a_package(&arguments("some_test -- -p")));
    }
}
