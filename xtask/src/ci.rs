//! `cargo xtask ci`: every check, each named and timed. A failed one does not keep the others from running.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::interrupt::Interrupt;
use crate::outcome::{Outcome, failure};
use crate::packages::Policy;
use crate::shell::{cargo, output, program, root, run};
use crate::ui::{complain, say, seconds};
use crate::{bench, chaos, test, tidy, tools};

/// Short, and the same in each run: about two minutes over both storages and all kinds of Redis.
const CHAOS: [&str; 6] = ["--duration", "50s", "--fault-length", "2s", "--seed", "20261122"];

/// What has a ratio that means something on a busy machine, in two minutes. The file has those of an earlier run.
const BENCH: [&str; 5] =
    ["--quick", "--scenario", "fanout,sends,interest", "--against", "crates/chat-bench/baseline.json"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Say how to install what is missing instead of installing it.
    #[arg(long)]
    no_install: bool,
}

pub(crate) fn ci(arguments: &Arguments) -> Outcome {
    let policy = if arguments.no_install { Policy::OnlySay } else { Policy::Install };
    let mut report = Report { interrupt: Interrupt::install()?, steps: Vec::new() };
    // What answers fast comes first.
    report.step("fmt", || rust_components().and_then(|()| run(&mut in_root(&["fmt", "--all", "--check"]))));
    report.step("tidy", tidy::tidy);
    report.step("typos", || run(Command::new(tools::typos(policy)?).current_dir(root())));
    report.step("deny", deny);
    report.step("clippy", || {
        run(&mut in_root(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--keep-going",
            "--",
            "-D",
            "warnings",
        ]))
    });
    report.step("docs", || {
        run(in_root(&["doc", "--workspace", "--no-deps", "--locked", "--keep-going"])
            .env("RUSTDOCFLAGS", "-D warnings"))
    });
    report.step("test", || test::test(&test::Arguments::everything(arguments.no_install)));
    report.step("chaos", || chaos::chaos(&chaos::Arguments::of_debug_build(arguments.no_install, &CHAOS)));
    report.step("bench", || bench::check(arguments.no_install, &BENCH));
    report.end()
}

/// A minimal toolchain comes without them.
fn rust_components() -> Outcome {
    let there = |component: &str| output(cargo().args([component, "--version"])).is_ok();
    if (there("fmt") && there("clippy")) || program(&["rustup"]).is_none() {
        return Ok(());
    }
    run(Command::new("rustup").args(["component", "add", "rustfmt", "clippy"]).current_dir(root()))
}

/// Licences, sources and banned crates must be right. Advisories are asked for, and only their being out of reach is
/// forgiven.
fn deny() -> Outcome {
    let tool = tools::cargo_deny()?;
    let check = |what: &[&str]| {
        let mut command = Command::new(&tool);
        command.args(["--workspace", "--color", "never", "--locked", "check", "--show-stats"]).args(what);
        command.current_dir(root());
        command
    };
    run(&mut check(&["bans", "licenses", "sources"]))?;
    match output(&mut check(&["advisories"])) {
        Ok(_) => Ok(()),
        Err(problem) if names_an_advisory(&problem.0) => Err(problem),
        Err(problem) => {
            complain(format!("advisories not checked, their database is out of reach: {}", problem.0));
            Ok(())
        }
    }
}

fn names_an_advisory(complaint: &str) -> bool {
    ["vulnerability", "unmaintained", "unsound", "notice", "yanked"]
        .iter()
        .any(|kind| complaint.contains(&format!("error[{kind}]")))
}

fn in_root(arguments: &[&str]) -> Command {
    let mut command = cargo();
    command.args(arguments).current_dir(root());
    command
}

struct Report {
    interrupt: Interrupt,
    steps: Vec<(&'static str, bool, Duration)>,
}

impl Report {
    /// Nothing more is begun after somebody asked to stop.
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Outcome) {
        if self.interrupt.came() {
            return;
        }
        say(format!("\n=== {name}"));
        let started = Instant::now();
        let outcome = work();
        if let Err(problem) = &outcome {
            complain(format!("{name}: {}", problem.0));
        }
        let took = started.elapsed();
        say(format!("=== {name} {} in {}", word(outcome.is_ok()), seconds(took)));
        self.steps.push((name, outcome.is_ok(), took));
    }

    fn end(self) -> Outcome {
        say("\nstep     result  time");
        for (name, passed, took) in &self.steps {
            say(format!("{name:<8} {:<7} {}", word(*passed), seconds(*took)));
        }
        say(format!("total            {}", seconds(self.steps.iter().map(|(_, _, took)| *took).sum())));
        self.verdict()
    }

    fn verdict(&self) -> Outcome {
        if self.interrupt.came() {
            return failure("interrupted");
        }
        let failed: Vec<_> = self.steps.iter().filter(|(_, passed, _)| !passed).map(|(name, ..)| *name).collect();
        if failed.is_empty() { Ok(()) } else { failure(format!("failed: {}", failed.join(", "))) }
    }
}

fn word(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn one_failed_step_fails_the_whole() {
        let report = |outcomes: &[(&'static str, bool)]| Report {
            interrupt: Interrupt::default(),
            steps: outcomes.iter().map(|&(name, passed)| (name, passed, Duration::ZERO)).collect(),
        };
        report(&[("first", true), ("second", true)]).verdict().unwrap();
        let verdict = report(&[("first", false), ("second", true), ("third", false)]).verdict();
        assert_eq!(verdict.unwrap_err().0, "failed: first, third");
    }

    #[test]
    fn nothing_is_begun_after_an_interrupt() {
        let interrupt = Interrupt::default();
        let mut report = Report { interrupt: interrupt.clone(), steps: Vec::new() };
        report.step("first", || {
            interrupt.come();
            Ok(())
        });
        report.step("second", || panic!("it was begun"));
        assert_eq!((report.steps.len(), report.verdict().unwrap_err().0.as_str()), (1, "interrupted"));
    }

    #[test]
    fn only_an_unreachable_database_is_forgiven() {
        assert!(names_an_advisory("error[vulnerability]: something\n"));
        assert!(!names_an_advisory("error: failed to fetch advisory database"));
    }
}
