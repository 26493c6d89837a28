//! What Linux says of a process, of itself and of the machine's cores.

use std::fs;
use std::time::Duration;

use crate::failure::{Failure, While};

/// What `/proc` counts in (`USER_HZ`): the same on every architecture that Linux runs such servers on.
const TICK_MS: u64 = 10;

/// Processor time that a process has used so far, in user and system together.
pub(crate) fn cpu_time(id: u32) -> Result<Duration, Failure> {
    let text = read(&format!("/proc/{id}/stat"))?;
    let ticks = cpu_ticks(&text).ok_or_else(|| Failure(format!("/proc/{id}/stat is not understood")))?;
    Ok(Duration::from_millis(ticks * TICK_MS))
}

/// The same, exact to less than a tick, but without the threads that have ended.
pub(crate) fn cpu_time_of_threads(id: u32) -> Result<Duration, Failure> {
    let folder = format!("/proc/{id}/task");
    let mut nanoseconds = 0;
    for thread in fs::read_dir(&folder).while_doing(&folder)? {
        let text = read(&format!("{}/schedstat", thread?.path().display()))?;
        let first = text.split_ascii_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        nanoseconds += first.ok_or_else(|| Failure(format!("schedstat of process {id} is not understood")))?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Memory of a process that is in RAM.
pub(crate) fn resident_bytes(id: u32) -> Result<u64, Failure> {
    let text = read(&format!("/proc/{id}/status"))?;
    resident(&text).ok_or_else(|| Failure(format!("process {id} has ended, or its memory is not told")))
}

/// The processes that a process has started itself and that still run.
pub(crate) fn children(id: u32) -> Result<Vec<u32>, Failure> {
    let text = read(&format!("/proc/{id}/task/{id}/children"))?;
    text.split_ascii_whitespace().map(|child| child.parse().while_doing("the children of a process")).collect()
}

/// The cores that this process may use.
pub(crate) fn allowed_cores() -> Result<Vec<usize>, Failure> {
    let text = read("/proc/self/status")?;
    let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.and_then(core_list).ok_or_else(|| Failure::new("/proc/self/status does not tell which cores may be used"))
}

/// For each of these cores, the ticks since the machine's start: those with work, and all.
pub(crate) fn core_ticks(cores: &[usize]) -> Result<Ticks, Failure> {
    let text = read("/proc/stat")?;
    ticks_of(&text, cores).ok_or_else(|| Failure::new("/proc/stat is not understood"))
}

/// Of some cores together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    pub(crate) busy: u64,
    pub(crate) all: u64,
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).while_doing(path)
}

/// Fields 14 and 15. The name before them may have spaces and parentheses of its own.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(user + system)
}

fn resident(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// `0-2,5`
fn core_list(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        cores.extend(from.parse::<usize>().ok()?..=to.parse().ok()?);
    }
    Some(cores)
}

/// user, nice, system, idle, iowait, irq, softirq, steal, and two that are counted in the first two already.
fn ticks_of(stat: &str, cores: &[usize]) -> Option<Ticks> {
    let mut sum = Ticks::default();
    for core in cores {
        let name = format!("cpu{core} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(&name))?;
        let ticks: Vec<u64> = line.split_ascii_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        let all: u64 = ticks.iter().sum();
        sum.all += all;
        sum.busy += all - ticks.get(3)? - ticks.get(4)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_use_what_their_process_uses() {
        // A process of its own: threads of this one end with other tests, and take with them what they have used. It ends by
        // itself after 20 s of processor time, should this test not come to end it.
        let endless = "ulimit -t 20; while :; do :; done";
        let mut busy = std::process::Command::new("sh").args(["-c", endless]).spawn().unwrap();
        let (id, began) = (busy.id(), std::time::Instant::now());
        let before = cpu_time_of_threads(id).unwrap();
        let mut after = before;
        while after <= before && began.elapsed() < Duration::from_secs(10) {
            after = cpu_time_of_threads(id).unwrap();
        }
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(after > before);
    }

    #[test]
    fn the_name_of_a_process_may_look_like_fields() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 500 0 0 0 120 34 0 0 20 0 3 0 100 1000 200";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("42 (a) S 1"), None);
    }

    #[test]
    fn memory_is_in_kilobytes() {
        assert_eq!(resident("Name:\ta\nVmRSS:\t   12 kB\n"), Some(12 * 1024));
        assert_eq!(resident("Name:\tended\n"), None);
    }

    #[test]
    fn cores_are_single_or_in_ranges() {
        assert_eq!(core_list("\t0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(core_list("7"), Some(vec![7]));
        assert_eq!(core_list("x"), None);
    }

    #[test]
    fn a_core_that_waits_for_a_disk_is_not_busy() {
        let stat = "cpu  9 9 9 9\ncpu0 1 2 3 40 50 6 7 8 9 9\ncpu1 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(ticks_of(stat, &[0]), Some(Ticks { busy: 27, all: 117 }));
        assert_eq!(ticks_of(stat, &[0, 1]), Some(Ticks { busy: 33, all: 125 }));
        assert_eq!(ticks_of(stat, &[2]), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let id = std::process::id();
        let before = cpu_time(id).unwrap();
        let mut sum = 0_u64;
        while cpu_time(id).unwrap() < before + Duration::from_millis(20) {
            sum = sum.wrapping_add(1);
        }
        assert!(resident_bytes(id).unwrap() > 0, "after {sum} looks");
    }
}
