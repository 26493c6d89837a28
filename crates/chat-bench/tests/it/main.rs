//! The program as a whole, on a system that is too small to tell anything but whether all of it works.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

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
fn nonsense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for nonsense in [["--scenario", "everything"], ["--connections", "0"], ["--duration", "10ms"]] {
        assert_eq!(bench(&nonsense, folder.path()).status.code(), Some(2), "{nonsense:?}");
    }
}
