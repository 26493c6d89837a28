//! Development commands. `cargo xtask --help` lists them.

mod bench;
mod chaos;
mod child;
mod ci;
mod cluster;
mod http;
mod interrupt;
mod outcome;
mod packages;
mod ports;
mod secret;
mod shell;
mod test;
mod tidy;
mod token;
mod tools;
mod ui;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::outcome::Failure;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Run, test and check the chat platform")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole system on this machine, with a demo page; Ctrl-C stops it.
    Up(up::Arguments),
    /// Set up what the tests need and run all of them.
    Test(test::Arguments),
    /// Everything that has to be right before a change goes in.
    Ci(ci::Arguments),
    /// Break a whole running system under load and check that nothing is lost, repeated or out of order.
    Chaos(chaos::Arguments),
    /// Measure a whole running system, as ratios to what this machine can do at all.
    Bench(bench::Arguments),
    /// Print a development token.
    Token(token::Arguments),
    /// Check the rules that the compiler does not know.
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Up(arguments) => up::up(&arguments),
        Command::Test(arguments) => test::test(&arguments),
        Command::Ci(arguments) => ci::ci(&arguments),
        Command::Chaos(arguments) => chaos::chaos(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Token(arguments) => token::token(&arguments),
        Command::Tidy => tidy::tidy(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(message)) => {
            ui::complain(format!("error: {message}"));
            ExitCode::FAILURE
        }
    }
}
