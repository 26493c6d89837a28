//! `docs/metrics.md` names every metric of a running server, with its type and its labels, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use chat_test_support::system::{Server, System};
use tokio::time::{Instant, sleep};

use crate::busy::Busy;
use crate::stock::DEADLINE;

/// How often a server is asked.
const LOOK: Duration = Duration::from_millis(100);

/// The type of each metric and its labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_names_what_servers_show() {
    let mut system = System::builder().websocket_servers(1).start().await;
    let _busy = Busy::start(&system).await;
    comes_to_match(system.message_server(0), "chat-message-server").await;
    comes_to_match(system.websocket_server(0), "chat-websocket-server").await;
}

/// Waits until the server shows what its page says: some of it appears with its first event.
async fn comes_to_match(server: &Server, section: &str) {
    let mut page = documented("Both servers");
    page.extend(documented(section));
    let deadline = Instant::now() + DEADLINE;
    loop {
        let shown = show(server).await;
        if shown == page {
            return;
        }
        assert!(Instant::now() < deadline, "{section}\n page: {page:#?}\nshown: {shown:#?}");
        sleep(LOOK).await;
    }
}

/// The names of metrics in an expression.
pub(crate) fn names_in(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| ["chat_", "process_", "tokio_"].iter().any(|beginning| word.starts_with(beginning)))
}

/// The names of all metrics on the page.
pub(crate) fn documented_anywhere() -> BTreeSet<String> {
    ["Both servers", "chat-message-server", "chat-websocket-server"]
        .into_iter()
        .flat_map(|section| documented(section).into_keys())
        .collect()
}

/// The table in a section of the page.
fn documented(section: &str) -> Metrics {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md")).unwrap();
    let text = page.split("\n## ").find_map(|text| text.strip_prefix(section)).expect("the section is there");
    let mut metrics = Metrics::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let labels =
            cells[3].split(", ").filter_map(|label| Some(label.strip_prefix('`')?.strip_suffix('`')?.to_owned()));
        let old = metrics.insert(cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels.collect()));
        assert!(old.is_none(), "twice on the page: {row}");
    }
    assert!(!metrics.is_empty(), "{section} has a table");
    metrics
}

/// What a server shows now, but for what is expected later.
async fn show(server: &Server) -> Metrics {
    let url = format!("{}/actuator/prometheus", server.management_url());
    let request = reqwest::Client::new().get(url).header("accept", "application/openmetrics-text; version=1.0.0");
    let text = request.send().await.unwrap().text().await.unwrap();
    let mut metrics = Metrics::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let is_short = kind == "counter" && !name.ends_with("_total");
            current = if is_short { format!("{name}_total") } else { name.to_owned() };
            metrics.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#')
            && let Some((_, labels)) = line.split_once('{')
            && let Some((_, known)) = metrics.get_mut(&current)
        {
            let names = labels.split("=\"").filter_map(|part| part.rsplit([',', '"', '{']).next());
            known.extend(names.filter(|name| is_label(name) && *name != "le").map(str::to_owned));
        }
    }
    metrics
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}
