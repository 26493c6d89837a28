//! What was used while something was measured.

use std::time::{Duration, Instant};

use crate::cores::Cores;
use crate::failure::Failure;
use crate::process::{Ticks, core_ticks, cpu_time};

/// Cores that are at work for more than this part of the time are what everything else waits for.
const BUSY: f64 = 0.95;

/// Between its start and its end.
pub(crate) struct Meter<'a> {
    cores: &'a Cores,
    processes: Vec<u32>,
    at: Instant,
    cpu: Duration,
    client: Duration,
    others: Ticks,
}

/// What the measured processes and all else used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) wall: Duration,
    /// Processor time of the measured processes.
    pub(crate) cpu: Duration,
    /// Parts of the time that this process, the client, had the cores that are not the measured one.
    pub(crate) client: f64,
    /// Parts of the time that these cores were at work at all.
    pub(crate) others: f64,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(cores: &'a Cores, processes: &[u32]) -> Result<Self, Failure> {
        Ok(Self {
            cores,
            processes: processes.to_vec(),
            at: Instant::now(),
            cpu: cpu_time_of_all(processes)?,
            client: cpu_time(std::process::id())?,
            others: core_ticks(cores.others())?,
        })
    }

    pub(crate) fn end(self) -> Result<Usage, Failure> {
        let wall = self.at.elapsed();
        let client = cpu_time(std::process::id())?.saturating_sub(self.client);
        let others = core_ticks(self.cores.others())?;
        let available = wall.as_secs_f64() * self.cores.others().len() as f64;
        Ok(Usage {
            wall,
            cpu: cpu_time_of_all(&self.processes)?.saturating_sub(self.cpu),
            client: client.as_secs_f64() / available,
            others: part(others.busy.saturating_sub(self.others.busy), others.all.saturating_sub(self.others.all)),
        })
    }
}

impl Usage {
    /// Of several measurements that were about as long.
    pub(crate) fn together(all: &[Self]) -> Self {
        let mean = |part: fn(&Self) -> f64| all.iter().map(part).sum::<f64>() / all.len() as f64;
        Self {
            wall: all.iter().map(|usage| usage.wall).sum(),
            cpu: all.iter().map(|usage| usage.cpu).sum(),
            client: mean(|usage| usage.client),
            others: mean(|usage| usage.others),
        }
    }

    /// Part of the time that the measured process had its core.
    pub(crate) fn measured(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// Who used the cores, where all share them.
    pub(crate) fn shares(&self, measured: &str) -> String {
        format!("{measured} used {:.2} cores, the client {:.2}", self.measured(), self.client)
    }

    /// Says so when the client and what else shares its cores was the bottleneck, not what is measured.
    pub(crate) fn bottleneck(&self) -> Option<String> {
        let Self { client, others, .. } = *self;
        (others > BUSY && self.measured() < BUSY).then(|| {
            let measured = self.measured();
            format!(
                "the load was the bottleneck: the measured process used {measured:.2} of its core, all else {others:.2} of \
                 its own, the client {client:.2} of them"
            )
        })
    }
}

fn cpu_time_of_all(processes: &[u32]) -> Result<Duration, Failure> {
    processes.iter().map(|process| cpu_time(*process)).sum()
}

fn part(busy: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { busy as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(cpu_ms: u64, others: f64) -> Usage {
        Usage { wall: Duration::from_secs(1), cpu: Duration::from_millis(cpu_ms), client: 0.5, others }
    }

    #[test]
    fn a_busy_client_is_a_bottleneck_only_beside_a_server_with_time_left() {
        assert_eq!(usage(990, 1.0).bottleneck(), None);
        assert_eq!(usage(500, 0.9).bottleneck(), None);
        assert!(usage(500, 0.99).bottleneck().unwrap().contains("0.50 of its core, all else 0.99"));
    }

    #[test]
    fn no_time_is_no_part() {
        assert_eq!((part(0, 0), part(1, 4)), (0.0, 0.25));
    }
}
