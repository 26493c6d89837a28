//! A real Prometheus, of `CHAT_TEST_PROMETHEUS`, and its `promtool`, of `CHAT_TEST_PROMTOOL`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::environment::{HOW_TO_GET_IT, variable};
use crate::port::free_port;
use crate::process::Process;
use crate::wait_until;

const PROMETHEUS: &str = "CHAT_TEST_PROMETHEUS";
const PROMTOOL: &str = "CHAT_TEST_PROMTOOL";
const START_DEADLINE: Duration = Duration::from_secs(30);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Another process may take the chosen port first. Five times in a row is no accident.
const PORT_ATTEMPTS: usize = 5;

/// A running Prometheus with its own port and its own data. Dropping it kills it.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    url: String,
    client: reqwest::Client,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one with this configuration and, beside it, these files of rules by name; waits until it is ready.
    ///
    /// # Panics
    /// When there is no Prometheus, or it does not like its configuration.
    pub async fn start(configuration: &str, rules: &[(&str, &str)]) -> Self {
        for _ in 1..PORT_ATTEMPTS {
            let mut started = Self::launch(configuration, rules);
            if started.gets_ready().await {
                return started;
            }
            let log = started.process.log_tail();
            assert!(log.contains("address already in use"), "Prometheus ended:\n{log}");
        }
        panic!("Prometheus found no port");
    }

    fn launch(configuration: &str, rules: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, configuration).expect("the configuration can be written");
        for (name, text) in rules {
            fs::write(folder.path().join(name), text).expect("rules can be written");
        }
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = program(PROMETHEUS);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::start(command, &folder.path().join("log"));
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build().expect("a client can be made");
        Self { process, url: format!("http://{address}"), client, _folder: folder }
    }

    /// False when it ended instead.
    async fn gets_ready(&mut self) -> bool {
        let (url, client) = (format!("{}/-/ready", self.url), self.client.clone());
        let mut ended = false;
        wait_until("Prometheus is ready", START_DEADLINE, async || {
            ended = self.process.ended().is_some();
            ended || client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        !ended
    }

    /// The samples that an expression gives now, or why it gives none.
    ///
    /// # Errors
    /// What Prometheus says is wrong with the expression.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let answer = self.get("query", &[("query", expression)]).await;
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let result = &answer["data"]["result"];
        Ok(result.as_array().expect("an expression for a panel gives a vector").clone())
    }

    /// All rules that it evaluates.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn rules(&self) -> Vec<Value> {
        let answer = self.get("rules", &[]).await;
        let groups = answer["data"]["groups"].as_array().into_iter().flatten();
        groups.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
    }

    async fn get(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let url = url::Url::parse_with_params(&format!("{}/api/v1/{what}", self.url), parameters);
        let answer = self.client.get(url.expect("a URL")).send().await.expect("Prometheus answers");
        serde_json::from_slice(&answer.bytes().await.expect("a whole answer")).expect("Prometheus answers in JSON")
    }
}

/// Runs `promtool` in `folder` with these arguments and returns what it says.
///
/// # Errors
/// The same, when it finds something wrong.
///
/// # Panics
/// When there is no promtool.
pub fn promtool(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = program(PROMTOOL).current_dir(folder).args(arguments).output().expect("promtool starts");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(text) } else { Err(text) }
}

fn program(name: &str) -> Command {
    Command::new(variable(name).unwrap_or_else(|| panic!("{name} is not set; {HOW_TO_GET_IT}")))
}
