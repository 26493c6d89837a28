//! Child processes that a command runs until it ends itself.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::outcome::{Outcome, While};

/// How long a server may take to end after it was asked to. The servers' own drain ends well before.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How much of a log is shown of a process that died.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;

/// A server process. Dropping it stops it.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) log: PathBuf,
    child: Child,
    stop: Signal,
}

impl Server {
    /// Starts `command` with a fresh log file. It is asked to end with `stop`.
    pub(crate) fn start(name: impl Into<String>, mut command: Command, log: PathBuf, stop: Signal) -> Outcome<Self> {
        let name = name.into();
        let output = File::create(&log).while_doing(log.display())?;
        let errors = output.try_clone().while_doing(log.display())?;
        // A group of its own keeps the terminal's Ctrl-C away, so that the servers end in order.
        command.process_group(0).stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().while_doing(format_args!("starting {name}"))?;
        Ok(Self { name, log, child, stop })
    }

    /// How the process ended, when it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn ask_to_end(&mut self) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (None, Some(id)) = (self.ended(), id) {
            // An error says that it has ended in between.
            let _ = kill_process(id, self.stop);
        }
    }

    /// Whether it ended by itself before the deadline; otherwise it is killed.
    fn ended_by(&mut self, deadline: Instant) -> bool {
        while self.ended().is_none() {
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return false;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        true
    }

    /// The last lines of its log, indented.
    pub(crate) fn tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop_all(std::slice::from_mut(self));
    }
}

/// Asks all of them to end at once, waits, and kills those that still run at the deadline. Returns their names.
pub(crate) fn stop_all(servers: &mut [Server]) -> Vec<String> {
    let deadline = Instant::now() + STOP_DEADLINE;
    servers.iter_mut().for_each(Server::ask_to_end);
    servers.iter_mut().filter_map(|server| (!server.ended_by(deadline)).then(|| server.name.clone())).collect()
}

fn tail(log: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map_or(0, |meta| meta.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)));
        let _ = file.take(TAIL_BYTES).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, name: &str) -> Server {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let log = std::env::temp_dir().join(format!("xtask-child-{name}-{}.log", std::process::id()));
        Server::start(name, command, log, Signal::TERM).unwrap()
    }

    #[test]
    fn a_process_that_ended_shows_the_end_of_its_log() {
        let mut server = shell("for i in $(seq 30); do echo line $i; done; exit 3", "ended");
        while server.ended().is_none() {
            std::thread::sleep(POLL_INTERVAL);
        }
        assert_eq!(server.ended().unwrap().code(), Some(3));
        assert!(server.tail().starts_with("    line 11\n"), "{}", server.tail());
        assert!(server.tail().ends_with("    line 30\n"));
    }

    #[test]
    fn a_process_is_asked_to_end() {
        let mut server = shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done", "asked");
        while !server.tail().contains("ready") {
            std::thread::sleep(POLL_INTERVAL);
        }
        assert_eq!(stop_all(std::slice::from_mut(&mut server)), [""; 0]);
        assert!(server.tail().contains("bye"));
    }
}
