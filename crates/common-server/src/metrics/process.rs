//! The process as the system sees it.

use std::{fmt, fs};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::{counter, gauge};

/// Reads `/proc`, where there is one.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
            counter(to, "process_cpu_seconds", "Processor time spent, in user and system.", stat.cpu_seconds)?;
            gauge(to, "process_resident_memory_bytes", "Memory in use.", stat.resident_bytes)?;
            gauge(to, "process_virtual_memory_bytes", "Address space in use.", stat.virtual_bytes)?;
            gauge(to, "process_threads", "Threads of the system.", stat.threads)?;
            if let Some(boot) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_seconds) {
                let start = boot + stat.start_after_boot;
                gauge(to, "process_start_time_seconds", "Start, in seconds since 1970.", start)?;
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them reads the folder.
            gauge(to, "process_open_fds", "Files and sockets that are open.", open.count().saturating_sub(1))?;
            if let Some(most) = getrlimit(Resource::Nofile).current {
                gauge(to, "process_max_fds", "Files and sockets that may be open.", most)?;
            }
        }
        Ok(())
    }
}

/// What is of interest in `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: u64,
    start_after_boot: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Stat {
    /// Fields are numbered as in proc_pid_stat(5). The second is the program's name in parentheses, and may hold any
    /// character.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_seconds: seconds(field(14)? + field(15)?),
            threads: field(20)?,
            start_after_boot: seconds(field(22)?),
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page_size() as u64,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact for as long as a machine lives")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_confuses_nobody() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 9 0 300 4096 2 18446744073709551615 1\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.threads, stat.virtual_bytes, stat.resident_bytes), (9, 4096, 2 * page_size() as u64));
        let ticks = seconds(1);
        assert_eq!((stat.cpu_seconds, stat.start_after_boot), (200.0 * ticks, 300.0 * ticks));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(boot_seconds("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000.0));
    }
}
