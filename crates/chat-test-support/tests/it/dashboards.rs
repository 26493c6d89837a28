//! What is shipped for those who watch, against running servers and the real Prometheus: every expression of the dashboard
//! has data, every alert can be evaluated, fires when it should and has its entry in the runbook.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use chat_test_support::prometheus::{Prometheus, promtool};
use chat_test_support::system::System;
use chat_test_support::wait_until;
use serde_json::Value;

use crate::busy::Busy;
use crate::metrics_page::names_in;

/// A scrape a second and rates over ten: a loaded machine gets several times what that takes.
const DEADLINE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_system_fills_the_dashboard_and_every_alert_is_evaluated() {
    let mut system = System::builder().message_servers(2).websocket_servers(2).start().await;
    let prometheus = Prometheus::start(&configuration(&mut system), &[("alerts.yml", &shipped("alerts.yml"))]).await;
    let _busy = Busy::start(&system).await;

    for (panel, expression) in dashboard() {
        let is_empty = || async {
            let samples = prometheus.query(&expression).await;
            samples.unwrap_or_else(|why| panic!("{panel}: {expression}\n{why}")).is_empty()
        };
        wait_until(&format!("{panel} has data: {expression}"), DEADLINE, async || !is_empty().await).await;
    }

    let health = async || prometheus.rules().await.iter().map(|rule| rule["health"].clone()).collect::<Vec<_>>();
    wait_until("every alert is evaluated", DEADLINE, async || !health().await.contains(&"unknown".into())).await;
    assert_eq!(health().await, vec![Value::from("ok"); alerts().len()]);
}

#[test]
fn promtool_finds_nothing_wrong() {
    let checks: [&[&str]; 3] = [
        &["check", "config", "prometheus.yml"],
        &["check", "rules", "alerts.yml"],
        &["test", "rules", "alerts_test.yml"],
    ];
    for arguments in checks {
        let outcome = promtool(&folder("deploy/prometheus"), arguments);
        assert!(outcome.is_ok(), "{arguments:?}: {}", outcome.unwrap_err());
    }
}

#[test]
fn every_alert_is_tested_both_ways() {
    let tests = shipped("alerts_test.yml");
    let named: Vec<_> = tests.lines().filter_map(|line| line.strip_prefix("  - name: ")).collect();
    for alert in alerts() {
        for case in ["fires", "is silent"] {
            assert!(named.contains(&format!("{alert} {case}").as_str()), "no test in which {alert} {case}");
        }
    }
}

#[test]
fn every_alert_has_its_entry_in_the_runbook_and_points_to_it() {
    let page = fs::read_to_string(folder("docs/operations.md")).unwrap();
    let entries = page.lines().filter_map(|line| line.strip_prefix("### Chat"));
    assert_eq!(entries.map(|rest| format!("Chat{rest}")).collect::<BTreeSet<_>>(), alerts());

    let rules = shipped("alerts.yml");
    let links: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: ")).collect();
    let expected = alerts().into_iter().map(|alert| format!("docs/operations.md#{}", alert.to_lowercase()));
    assert_eq!(links, expected.collect::<BTreeSet<_>>().iter().map(String::as_str).collect());
}

/// Where the dashboard and the alerts look, there is something to see.
#[test]
fn they_name_documented_metrics_only() {
    let documented = crate::metrics_page::documented_anywhere();
    let shown = dashboard().into_iter().map(|(_, expression)| expression);
    let rules = shipped("alerts.yml");
    let watched = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned);
    for expression in shown.chain(watched) {
        for name in names_in(&expression) {
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let known = documented.contains(name) || base.is_some_and(|base| documented.contains(base));
            assert!(known, "{name} is not in docs/metrics.md: {expression}");
        }
    }
}

/// The shipped configuration, for the ports of this system and in a hurry.
fn configuration(system: &mut System) -> String {
    let mut text = shipped("prometheus.yml").replace("15s", "1s");
    let messages = (0..system.message_servers()).map(|index| system.message_server(index).management_url());
    let messages: Vec<_> = messages.collect();
    let websockets = (0..system.websocket_servers()).map(|index| system.websocket_server(index).management_url());
    let websockets: Vec<_> = websockets.collect();
    for (shipped, urls) in [("\"127.0.0.1:21001\"", messages), ("\"127.0.0.1:21002\"", websockets)] {
        assert!(text.contains(shipped), "{shipped} is the target to replace");
        let targets: Vec<_> = urls.iter().map(|url| url.trim_start_matches("http://")).collect();
        text = text.replace(shipped, &targets.join(", "));
    }
    text
}

/// Every expression of the dashboard, for all servers and instances, with the title of its panel.
fn dashboard() -> Vec<(String, String)> {
    let text = fs::read_to_string(folder("deploy/grafana/dashboards/chat.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut expressions = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "10s");
            let expression = expression.replace("$job", ".+").replace("$instance", ".+");
            assert!(!expression.contains('$'), "a variable that Grafana would fill in is left: {expression}");
            expressions.push((panel["title"].as_str().unwrap().to_owned(), expression));
        }
    }
    assert!(!expressions.is_empty());
    expressions
}

/// The names of all alerts.
fn alerts() -> BTreeSet<String> {
    let rules = shipped("alerts.yml");
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

/// A file of `deploy/prometheus`.
fn shipped(name: &str) -> String {
    fs::read_to_string(folder("deploy/prometheus").join(name)).unwrap()
}

fn folder(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}
