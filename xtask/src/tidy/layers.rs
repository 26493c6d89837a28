//! Which crate may reach which.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const SERVERS: [&str; 2] = ["chat-message-server", "chat-websocket-server"];
/// The programs that are made of fixtures: they start a whole system to measure or to break it, and are part of none.
const MADE_OF_FIXTURES: [&str; 2] = ["chat-bench", "chat-chaos"];
/// Runtimes, databases and Redis clients: what would make the domain more than rules.
const IO: [&str; 14] = [
    "async-std",
    "axum",
    "diesel",
    "fred",
    "hyper",
    "libsqlite3-sys",
    "mio",
    "redis",
    "reqwest",
    "rusqlite",
    "smol",
    "sqlx",
    "tokio",
    "tokio-postgres",
];

/// Packages by name. Development dependencies are kept apart, because they are no part of what is shipped.
#[derive(Debug, Default)]
pub(super) struct Graph {
    needs: BTreeMap<String, BTreeSet<String>>,
    develops_with: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// The graph in the output of `cargo metadata`.
    pub(super) fn from_metadata(metadata: &Value) -> Self {
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let names: BTreeMap<&str, &str> =
            packages.filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?))).collect();
        let name_of = |id: &Value| id.as_str().and_then(|id| names.get(id)).map(|&name| name.to_owned());
        let mut graph = Self::default();
        for node in metadata["resolve"]["nodes"].as_array().into_iter().flatten() {
            let Some(from) = name_of(&node["id"]) else { continue };
            for dependency in node["deps"].as_array().into_iter().flatten() {
                let Some(to) = name_of(&dependency["pkg"]) else { continue };
                for kind in dependency["dep_kinds"].as_array().into_iter().flatten() {
                    graph.add(&from, &to, kind["kind"] == "dev");
                }
            }
        }
        graph
    }

    fn add(&mut self, from: &str, to: &str, development: bool) {
        let edges = if development { &mut self.develops_with } else { &mut self.needs };
        edges.entry(from.to_owned()).or_default().insert(to.to_owned());
    }

    /// Everything that `from` is built from.
    fn reach<'a>(&'a self, from: &'a str) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut open = vec![from];
        while let Some(next) = open.pop() {
            let direct = self.needs.get(next).into_iter().flatten().map(String::as_str);
            open.extend(direct.filter(|name| found.insert(*name)));
        }
        found
    }

    fn packages(&self) -> BTreeSet<&str> {
        self.needs.keys().chain(self.develops_with.keys()).map(String::as_str).collect()
    }
}

/// Every edge that the architecture forbids.
pub(super) fn problems(graph: &Graph) -> Vec<String> {
    let mut problems = Vec::new();
    for (server, other) in [(SERVERS[0], SERVERS[1]), (SERVERS[1], SERVERS[0])] {
        let in_tests = graph.develops_with.get(server).is_some_and(|names| names.contains(other));
        if graph.reach(server).contains(other) || in_tests {
            problems.push(format!("{server} reaches {other}: the servers talk through Redis only"));
        }
    }
    for name in graph.reach("chat-domain").into_iter().filter(|name| IO.contains(name)) {
        problems.push(format!("chat-domain reaches {name}: the domain does no I/O"));
    }
    for package in graph.packages().into_iter().filter(|name| name.starts_with("common-")) {
        for name in graph.reach(package).into_iter().filter(|name| name.starts_with("chat-")) {
            problems.push(format!("{package} reaches {name}: common crates know nothing of chat"));
        }
    }
    let with_fixtures = graph.needs.iter().filter(|(_, names)| names.contains("chat-test-support"));
    for (package, _) in with_fixtures.filter(|(package, _)| !MADE_OF_FIXTURES.contains(&package.as_str())) {
        problems.push(format!("{package} needs chat-test-support outside its tests"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        edges.iter().for_each(|(from, to)| graph.add(from, to, false));
        graph
    }

    #[test]
    fn the_layers_of_the_architecture_are_right() {
        let edges = [
            ("chat-message-server", "chat-storage"),
            ("chat-websocket-server", "chat-storage"),
            ("chat-storage", "chat-domain"),
            ("chat-storage", "sqlx"),
            ("chat-message-server", "common-server"),
            ("chat-domain", "uuid"),
        ];
        assert_eq!(problems(&graph(&edges)), [""; 0]);
    }

    #[test]
    fn a_server_that_reaches_the_other_is_found() {
        let edges = [("chat-message-server", "chat-storage"), ("chat-storage", "chat-websocket-server")];
        let found = problems(&graph(&edges));
        assert_eq!(found, ["chat-message-server reaches chat-websocket-server: the servers talk through Redis only"]);
        let mut in_tests = Graph::default();
        in_tests.add("chat-websocket-server", "chat-message-server", true);
        assert_eq!(problems(&in_tests).len(), 1);
    }

    #[test]
    fn a_domain_that_reaches_a_runtime_is_found() {
        let found = problems(&graph(&[("chat-domain", "helper"), ("helper", "tokio")]));
        assert_eq!(found, ["chat-domain reaches tokio: the domain does no I/O"]);
    }

    #[test]
    fn a_common_crate_that_knows_chat_is_found() {
        let found = problems(&graph(&[("common-auth", "chat-domain")]));
        assert_eq!(found, ["common-auth reaches chat-domain: common crates know nothing of chat"]);
    }

    #[test]
    fn fixtures_in_shipped_code_are_found() {
        assert_eq!(problems(&graph(&[("chat-storage", "chat-test-support")])).len(), 1);
        assert_eq!(problems(&graph(&MADE_OF_FIXTURES.map(|name| (name, "chat-test-support")))), [""; 0]);
        let mut in_tests = Graph::default();
        in_tests.add("chat-storage", "chat-test-support", true);
        assert_eq!(problems(&in_tests), [""; 0]);
    }

    #[test]
    fn the_graph_is_read_from_metadata() {
        let metadata = json!({
            "packages": [{ "id": "a#1", "name": "chat-domain" }, { "id": "b#1", "name": "tokio" }],
            "resolve": { "nodes": [{
                "id": "a#1",
                "deps": [{ "pkg": "b#1", "dep_kinds": [{ "kind": "dev" }, { "kind": null }] }],
            }] },
        });
        let graph = Graph::from_metadata(&metadata);
        assert!(graph.reach("chat-domain").contains("tokio"));
        assert!(graph.develops_with["chat-domain"].contains("tokio"));
    }
}
