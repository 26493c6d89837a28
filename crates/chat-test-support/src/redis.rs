//! An own Redis (or Valkey) process for one test.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::environment::{HOW_TO_GET_IT, program_on_path, variable};
use crate::port::free_port;
use crate::process::Process;

/// A Redis starts in some milliseconds; a loaded machine gets much more.
const START_DEADLINE: Duration = Duration::from_secs(10);
const COMMAND_DEADLINE: Duration = Duration::from_secs(5);
/// Another process may take the chosen port before Redis does. Five times in a row is no accident.
const PORT_ATTEMPTS: usize = 5;

/// A Redis server on 127.0.0.1, without persistence, killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    port: u16,
    folder: TempDir,
}

impl RedisServer {
    /// Starts a server on a port that the kernel chose and waits until it answers.
    ///
    /// # Panics
    /// When there is no redis-server or valkey-server, or it does not come up.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            let mut process = launch(port, &folder);
            if is_up(&mut process, port).await {
                return Self { process, port, folder };
            }
            let tail = process.log_tail();
            assert!(tail.contains("Address already in use"), "Redis did not come up:\n{tail}");
        }
        panic!("Redis found its port taken {PORT_ATTEMPTS} times in a row");
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

    /// Starts it again on the same port, empty; kills it first if it still runs.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        self.kill();
        let started = Instant::now();
        // A client may hold the port for a moment as its own local port, so one refusal is not final.
        while started.elapsed() < START_DEADLINE {
            self.process = launch(self.port, &self.folder);
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

    /// Sends one command on a connection of its own and returns the reply as it is on the wire (RESP2), at most 64 KiB.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn execute(&self, arguments: &[&str]) -> String {
        execute(self.port, arguments).await.expect("Redis answers")
    }
}

fn launch(port: u16, folder: &TempDir) -> Process {
    let mut command = Command::new(program());
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(folder.path());
    Process::start(command, &folder.path().join(format!("redis-{port}.log")))
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
        if execute(port, &["INFO", "server"]).await.is_some_and(|reply| reply.contains(&mine)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    false
}

async fn execute(port: u16, arguments: &[&str]) -> Option<String> {
    tokio::time::timeout(COMMAND_DEADLINE, exchange(port, arguments)).await.ok()?
}

async fn exchange(port: u16, arguments: &[&str]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut request = format!("*{}\r\n", arguments.len());
    for argument in arguments {
        request += &format!("${}\r\n{argument}\r\n", argument.len());
    }
    // QUIT makes the server close after its reply, so that the reply's end needs no parser.
    request += "*1\r\n$4\r\nQUIT\r\n";
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut reply = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut reply).await.ok()?;
    let reply = String::from_utf8_lossy(&reply).into_owned();
    Some(reply.strip_suffix("+OK\r\n").unwrap_or(&reply).to_owned())
}
