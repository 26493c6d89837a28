//! Own Redis (or Valkey) processes for one test: alone, under Sentinels, or as a Cluster.

mod cluster;
mod sentinels;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

pub use cluster::RedisCluster;
pub use sentinels::RedisSentinels;

use crate::environment::{HOW_TO_GET_IT, program_on_path, variable};
use crate::port::free_port;
use crate::process::Process;

/// A Redis starts in some milliseconds; a loaded machine gets much more.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// Another process may take the chosen port before Redis does. Five times in a row is no accident.
const PORT_ATTEMPTS: usize = 5;

/// A Redis server on 127.0.0.1, without persistence, killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    port: u16,
    folder: TempDir,
    mode: Mode,
}

/// What the program runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Server,
    Sentinel,
}

impl RedisServer {
    /// Starts a server on a port that the kernel chose and waits until it answers.
    ///
    /// # Panics
    /// When there is no redis-server or valkey-server, or it does not come up.
    pub async fn start() -> Self {
        Self::start_with(|_| String::new()).await
    }

    /// The same with more lines in its configuration file, which may depend on the port.
    async fn start_with(directives: impl Fn(u16) -> String) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            if let Some(server) = Self::start_on(port, Mode::Server, &directives(port)).await {
                return server;
            }
        }
        panic!("Redis found its port taken {PORT_ATTEMPTS} times in a row");
    }

    /// `None` when the port is taken.
    async fn start_on(port: u16, mode: Mode, directives: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let place = folder.path().display();
        let mut configuration = format!("port {port}\nbind 127.0.0.1\ndir \"{place}\"\n{directives}");
        if mode == Mode::Server {
            configuration += "save \"\"\nappendonly no\n";
        }
        fs::write(configuration_file(folder.path()), configuration).expect("the configuration can be written");
        let mut process = launch(mode, folder.path());
        if is_up(&mut process, port).await {
            return Some(Self { process, port, folder, mode });
        }
        let tail = process.log_tail();
        assert!(tail.contains("Address already in use"), "Redis did not come up:\n{tail}");
        None
    }

    /// `redis://127.0.0.1:{port}`
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port it listens on, the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the process (SIGKILL): connections break, all data is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, empty; kills it first if it still runs. It keeps its configuration as Redis
    /// itself rewrote it: its role under Sentinels, its slots in a Cluster.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        self.kill();
        let started = Instant::now();
        // A client may hold the port for a moment as its own local port, so one refusal is not final.
        while started.elapsed() < START_DEADLINE {
            self.process = launch(self.mode, self.folder.path());
            if is_up(&mut self.process, self.port).await {
                return;
            }
        }
        panic!("Redis did not come up again on port {}:\n{}", self.port, self.process.log_tail());
    }

    /// Freezes the process (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&mut self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn resume(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// Sends one command on a connection of its own and returns the reply as it is on the wire (RESP2), at most 1 MiB.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn execute(&self, arguments: &[&str]) -> String {
        self.try_execute(arguments).await.expect("Redis answers")
    }

    /// The same, or `None` when the server does not answer within five seconds.
    pub async fn try_execute(&self, arguments: &[&str]) -> Option<String> {
        wire::execute(self.port, arguments).await
    }

    /// The end of its log, for the message of a failed test.
    fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

fn configuration_file(folder: &Path) -> PathBuf {
    folder.join("redis.conf")
}

fn launch(mode: Mode, folder: &Path) -> Process {
    let mut command = Command::new(program());
    command.arg(configuration_file(folder));
    if mode == Mode::Sentinel {
        command.arg("--sentinel");
    }
    Process::start(command, &folder.join("redis.log"))
}

fn program() -> PathBuf {
    variable("CHAT_TEST_REDIS_SERVER")
        .map(PathBuf::from)
        .or_else(|| program_on_path(&["redis-server", "valkey-server"]))
        .unwrap_or_else(|| panic!("no redis-server or valkey-server found; {HOW_TO_GET_IT}"))
}

/// Whether this very process serves the port. Another test's Redis may answer there, so the process id is compared.
async fn is_up(process: &mut Process, port: u16) -> bool {
    let mine = format!("process_id:{}\r", process.id());
    let started = Instant::now();
    while started.elapsed() < START_DEADLINE && process.ended().is_none() {
        if wire::execute(port, &["INFO", "server"]).await.is_some_and(|reply| reply.contains(&mine)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    false
}
