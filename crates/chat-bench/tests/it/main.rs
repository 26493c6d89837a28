//! The program as a whole, on a system that is too small to tell anything but whether all of it works.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const CONNECTIONS: u64 = 20;

fn bench(arguments: &[&str], report: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chat-bench"))
        .args(["--quick", "--duration", "500ms", "--report"])
        .arg(report)
        .args(arguments)
        .output()
        .expect("the program can be started")
}

#[test]
fn every_delivery_of_a_fan_out_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench(&["--scenario", "fanout", "--connections", &CONNECTIONS.to_string()], folder.path());
    assert!(output.status.success(), "{output:?}");

    let report = std::fs::read(folder.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let figures = report["scenarios"][0]["figures"].as_array().unwrap();
    let of_target = |name: &str| {
        let mut ratios = figures.iter().filter(|figure| figure["measured"]["unit"] == "ratio");
        ratios.find(|figure| figure["target"]["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
    };
    for name in ["P1", "P2"] {
        let figure = of_target(name);
        assert!(figure["measured"]["value"].as_f64().unwrap() > 0.0, "{figure}");
        let deliveries = figure["deliveries"].as_u64().unwrap();
        assert!(deliveries > 0, "{figure}");
        assert_eq!(deliveries, figure["events"].as_u64().unwrap() * CONNECTIONS, "{figure}");
    }
    assert!(String::from_utf8_lossy(&output.stdout).contains("| fanout | one event at a time"), "{output:?}");
}

#[test]
fn rooms_elsewhere_and_a_storm_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = folder.path().join("recorded.json");
    let [connections, file] = [CONNECTIONS.to_string(), recorded.display().to_string()];
    let output =
        bench(&["--scenario", "interest,storm", "--connections", &connections, "--record", &file], folder.path());
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in ["| interest | messages from Redis, with ten times", "| storm | all resumed", "| storm | live delivery"]
    {
        assert!(table.contains(line), "no {line} in {table}");
    }

    let recorded: Value = serde_json::from_slice(&std::fs::read(recorded).unwrap()).unwrap();
    let heard = recorded["interest"].as_object().unwrap().values().next().unwrap();
    // With ten times the traffic it would be about five, if the instance heard all of it.
    assert!(heard.as_f64().unwrap() < 1.5, "{recorded}");
}

#[test]
fn a_large_room_is_measured_beside_small_ones() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench(&["--scenario", "neighbours", "--connections", &CONNECTIONS.to_string()], folder.path());
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&std::fs::read(folder.path().join("report.json")).unwrap()).unwrap();
    let figure = &report["scenarios"][0]["figures"][0];
    assert_eq!(figure["target"]["name"], "P10", "{report}");
    let note = figure["notes"].to_string();
    assert!(!note.contains("\"0 messages"), "{note}");
}

#[test]
fn a_run_that_is_asked_to_end_takes_all_along_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_chat-bench"))
        .args(["--quick", "--scenario", "fanout", "--connections", "5", "--report"])
        .arg(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    // All of it runs when the first measurement is there.
    let mut progress = BufReader::new(run.stderr.take().unwrap()).lines();
    progress.find(|line| line.as_ref().unwrap().contains("1/3: raw")).unwrap().unwrap();
    let id = run.id();
    let all_threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
    let started: Vec<String> = all_threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|children| children.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(started.len() >= 4, "two servers, Redis and the reference: {started:?}");

    let pid = Pid::from_raw(id.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(!run.wait().unwrap().success());
    let left: Vec<_> = started.iter().filter(|id| Path::new("/proc").join(id).exists()).collect();
    assert!(left.is_empty(), "{left:?} still run");
}

#[test]
fn nonsense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for nonsense in [["--scenario", "everything"], ["--connections", "0"], ["--duration", "10ms"]] {
        assert_eq!(bench(&nonsense, folder.path()).status.code(), Some(2), "{nonsense:?}");
    }
}
