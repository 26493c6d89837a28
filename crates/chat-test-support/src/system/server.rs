//! One server process of the system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::builder::clean_command;
use super::links::Links;
use crate::environment::HOW_TO_GET_IT;
use crate::process::Process;
use crate::proxy::TcpProxy;
use crate::wait_until;

/// A server starts in well under a second; an unoptimised one on a loaded machine gets much more.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Longer than the servers' own drain deadline.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    WebSocket,
}

impl Kind {
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Message => "chat-message-server",
            Self::WebSocket => "chat-websocket-server",
        }
    }

    /// What its port for users is called, in the settings (upper-cased) and in the address file.
    const fn port_name(self) -> &'static str {
        match self {
            Self::Message => "http",
            Self::WebSocket => "websocket",
        }
    }
}

/// A message server or a WebSocket instance.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    process: Process,
    settings: Vec<(String, String)>,
    folder: PathBuf,
    links: Links,
    /// The one core that it may use, if not all.
    core: Option<usize>,
    /// The ports for users and for management, once they are bound.
    addresses: Option<(String, String)>,
}

impl Server {
    pub(super) fn launch(
        kind: Kind,
        settings: Vec<(String, String)>,
        folder: PathBuf,
        links: Links,
        core: Option<usize>,
    ) -> Self {
        let process = spawn(configured(kind, &settings, &folder, core), kind, &folder, None);
        Self { kind, process, settings, folder, links, core, addresses: None }
    }

    /// `127.0.0.1:{port}` for users; it stays the same over restarts.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.addresses.as_ref().expect("a started server has its ports").0
    }

    /// `http://127.0.0.1:{port}` of the management port; it stays the same over restarts.
    #[must_use]
    pub fn management_url(&self) -> String {
        format!("http://{}", self.addresses.as_ref().expect("a started server has its ports").1)
    }

    /// Where users reach it: through their link, if there is one.
    pub(super) fn address_for_users(&self) -> String {
        self.link_to_users().map_or_else(|| self.address().to_owned(), |link| link.address().to_string())
    }

    pub(super) fn websocket_url(&self) -> String {
        format!("ws://{}/ws/chat", self.address_for_users())
    }

    /// What lies between it and Redis, in a system with links and a plain `redis://` URL.
    #[must_use]
    pub fn link_to_redis(&self) -> Option<&TcpProxy> {
        self.links.redis.as_ref()
    }

    /// What lies between it and PostgreSQL, in a system with links.
    #[must_use]
    pub fn link_to_storage(&self) -> Option<&TcpProxy> {
        self.links.storage.as_ref()
    }

    /// What lies between its users and it, in a system with links. Its management port has none.
    #[must_use]
    pub fn link_to_users(&self) -> Option<&TcpProxy> {
        self.links.users.as_ref()
    }

    /// Freezes the process (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&mut self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn resume(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// The id of its process; another one after a restart.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// How much memory it has now, in bytes; none when it has ended, or where `/proc` does not tell.
    #[must_use]
    pub fn resident_bytes(&self) -> Option<u64> {
        self.process.resident_bytes()
    }

    /// The file with all that it has logged, over all its starts.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        log_file(&self.folder)
    }

    /// Kills the process (SIGKILL), also a frozen one.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end (SIGTERM), as a deploy does, and waits for that.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop(Signal::TERM, STOP_DEADLINE)
    }

    /// Asks it to end (SIGTERM) and goes on at once.
    pub fn ask_to_stop(&mut self) {
        self.process.signal(Signal::TERM);
    }

    /// The exit status, when it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Starts it again on the same ports and waits until it is ready; kills it first if it still runs.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        self.kill();
        // The old file would say that the new process has bound its ports.
        fs::remove_file(address_file(&self.folder)).expect("the address file can be removed");
        let command = configured(self.kind, &self.settings, &self.folder, self.core);
        self.process = spawn(command, self.kind, &self.folder, self.addresses.as_ref());
        self.until_bound().await;
        self.until_ready().await;
    }

    /// All that it has logged, over all its starts.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).expect("the log can be read")).into_owned()
    }

    /// Runs the program once more, with the same settings and these arguments, until it ends by itself.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run_once(&self, arguments: &[&str]) -> Output {
        let mut command = configured(self.kind, &self.settings, &self.folder, self.core);
        command.args(arguments).output().expect("the server's program starts")
    }

    pub(super) async fn until_bound(&mut self) {
        let file = address_file(&self.folder);
        let what = format!("{} binds its ports", self.kind.program());
        wait_until(&what, START_DEADLINE, async || {
            self.must_run();
            file.exists()
        })
        .await;
        let text = fs::read_to_string(&file).expect("the address file can be read");
        let addresses: Value = serde_json::from_str(&text).expect("the address file is JSON");
        let address = |name: &str| addresses[name].as_str().expect("the address file names every port").to_owned();
        let users = address(self.kind.port_name());
        // A restarted server is where it was, and its link goes there already.
        self.links.open_to_users(&users).await;
        self.addresses = Some((users, address("management")));
    }

    pub(super) async fn until_ready(&mut self) {
        let what = format!("{} is ready", self.kind.program());
        let url = format!("{}/readyz", self.management_url());
        let client = reqwest::Client::new();
        wait_until(&what, START_DEADLINE, async || {
            self.must_run();
            client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// A process that has ended never gets ready: no need to wait for the deadline.
    fn must_run(&mut self) {
        if let Some(status) = self.process.ended() {
            panic!("{} ended with {status}:\n{}", self.kind.program(), self.process.log_tail());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the test runner shows it beside the failure")]
            {
                eprintln!("--- {}\n{}", self.folder.display(), self.process.log_tail());
            }
        }
    }
}

fn spawn(mut command: Command, kind: Kind, folder: &Path, addresses: Option<&(String, String)>) -> Process {
    let any_port = || "127.0.0.1:0".to_owned();
    let (users, management) = addresses.cloned().unwrap_or_else(|| (any_port(), any_port()));
    command
        .env(format!("CHAT_{}_LISTEN", kind.port_name().to_uppercase()), users)
        .env("CHAT_MANAGEMENT_LISTEN", management)
        .env("CHAT_PROCESS_ADDRESS_FILE", address_file(folder));
    Process::start(command, &log_file(folder))
}

fn configured(kind: Kind, settings: &[(String, String)], folder: &Path, core: Option<usize>) -> Command {
    let mut command = match core {
        None => clean_command(&program(kind)),
        Some(core) => {
            // It becomes the server: the process is the same.
            let mut command = clean_command(Path::new("taskset"));
            command.args(["-c", &core.to_string()]).arg(program(kind));
            command
        }
    };
    command.current_dir(folder).envs(settings.iter().map(|(name, value)| (name, value)));
    command
}

/// The program of the same build: in `target/{profile}`, like a tool's binary, or one above a test's.
fn program(kind: Kind) -> PathBuf {
    let this = std::env::current_exe().expect("the running binary has a path");
    let folder = this.parent().expect("a binary is in a folder");
    let profile = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    let program = profile.expect("deps is in target/{profile}").join(kind.program());
    assert!(program.is_file(), "{} is not built; {HOW_TO_GET_IT}", program.display());
    program
}

fn address_file(folder: &Path) -> PathBuf {
    folder.join("addresses.json")
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("log")
}
