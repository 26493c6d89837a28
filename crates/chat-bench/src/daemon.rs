//! A server of somebody else, as a child process that ends with its owner.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chat_test_support::port::free_port;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::failure::{Failure, While};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Daemon {
    /// Starts a program, on one core if that is asked for, and waits until it accepts connections at the address that it
    /// was told.
    pub(crate) async fn start(
        program: &Path,
        core: Option<usize>,
        address: SocketAddr,
        log: PathBuf,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self, Failure> {
        let mut command = match core {
            None => Command::new(program),
            Some(core) => {
                // It becomes the program: the process is the same.
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
        };
        configure(&mut command);
        let output = File::create(&log).while_doing("the log of a server")?;
        command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        let child = command.spawn().while_doing(&program.display().to_string())?;
        let mut daemon = Self { child, log, address };
        daemon.until_there(program).await?;
        Ok(daemon)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    async fn until_there(&mut self, program: &Path) -> Result<(), Failure> {
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait()?.is_some();
            if ended || began.elapsed() > START_TIMEOUT {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                return Err(Failure(format!("{} did not come up: {}", program.display(), log.trim())));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has children of its own, which it ends when it is asked.
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(id, Signal::TERM);
        }
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < STOP_TIMEOUT {
            std::thread::sleep(Duration::from_millis(5));
        }
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_an_error_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let (program, address) = (Path::new("/bin/sh"), free_address());
        let started = Daemon::start(program, None, address, log, |command| {
            command.args(["-c", "echo no such thing >&2; exit 1"]);
        });
        let problem = started.await.err().unwrap().to_string();
        assert_eq!(problem, "/bin/sh did not come up: no such thing");
    }
}
