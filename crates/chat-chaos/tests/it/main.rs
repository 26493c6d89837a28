//! The program as a whole: it must be able to fail.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::{Command, Output};

/// A run that breaks Redis once, with what it keeps in a folder of its own.
fn chaos(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_chat-chaos"))
        .args(["--storage", "sqlite", "--redis", "standalone", "--faults", "redis-kill", "--fault-length", "2s"])
        .args(["--duration", "9s", "--seed", "1", "--rate", "50", "--listeners", "10", "--catch-up", "5s"])
        .args(arguments)
        .arg("--histories")
        .arg(folder.path())
        .output()
        .expect("the program can be started")
}

/// Lost, duplicated and out of order, as the last line of the table has them.
fn broken(output: &Output) -> [usize; 3] {
    let text = String::from_utf8_lossy(&output.stdout);
    let total = text.lines().find(|line| line.starts_with("| everything")).unwrap_or_else(|| panic!("{output:?}"));
    let cells: Vec<_> = total.split('|').map(str::trim).collect();
    [6, 7, 8].map(|cell: usize| cells[cell].parse().unwrap())
}

#[test]
fn instances_that_repair_keep_the_promise() {
    let output = chaos(&[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(broken(&output), [0, 0, 0]);
}

#[test]
fn without_the_repair_the_checker_sees_what_was_lost() {
    let output = chaos(&["--without-repair"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let [lost, duplicated, out_of_order] = broken(&output);
    assert!(lost > 0, "{output:?}");
    assert_eq!((duplicated, out_of_order), (0, 0), "nothing but the repair is off");
}
