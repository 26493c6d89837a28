//! The processes that a PostgreSQL server forks. Each makes a process group of its own, so no signal to a group reaches
//! them: they are found by their parent.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The children of `parent` that have not ended.
pub(super) fn children(parent: u32) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("the system has /proc").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| state(*id).is_some_and(|state| state.parent == parent && !state.ended))
        .filter_map(Pid::from_raw)
        .collect()
}

/// Sends a signal; a process that has ended meanwhile is no error.
pub(super) fn signal_all(processes: &[Pid], signal: Signal) {
    for process in processes {
        let _ = kill_process(*process, signal);
    }
}

/// Waits until all of them have ended, so that nothing holds the server's memory and files any more.
pub(super) fn wait_for_end(processes: &[Pid], deadline: Duration) {
    let started = Instant::now();
    while processes.iter().any(|process| state(process.as_raw_pid()).is_some_and(|state| !state.ended)) {
        assert!(started.elapsed() < deadline, "PostgreSQL's processes did not end within {deadline:?}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

struct State {
    parent: u32,
    /// It may still wait for its parent to notice.
    ended: bool,
}

fn state(process: i32) -> Option<State> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let ended = matches!(fields.next()?, "Z" | "X");
    Some(State { parent: fields.next()?.parse().ok()?, ended })
}
