//! Which process runs where.

use std::process::Command;

use crate::failure::{Failure, While};
use crate::process::allowed_cores;

/// The cores of the machine that may be used, parted between what is measured and all else.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    all: Vec<usize>,
}

impl Cores {
    pub(crate) fn of_this_process() -> Result<Self, Failure> {
        let all = allowed_cores()?;
        if all.is_empty() {
            return Err(Failure::new("no core may be used"));
        }
        Ok(Self { all })
    }

    /// The core of what is measured: the last, because the kernel likes the first for interrupts.
    pub(crate) fn measured(&self) -> usize {
        self.all.last().copied().unwrap_or_default()
    }

    /// The cores of all else; the same core, where there is one only.
    pub(crate) fn others(&self) -> &[usize] {
        let others = &self.all[..self.all.len() - 1];
        if others.is_empty() { &self.all } else { others }
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// Leaves the core of what is measured alone, and so do processes that are started from now on.
    pub(crate) fn spare_the_measured(&self) -> Result<(), Failure> {
        settle(self.others())
    }

    /// Uses all cores, and so do processes that are started from now on.
    pub(crate) fn share_all(&self) -> Result<(), Failure> {
        settle(&self.all)
    }
}

/// Moves all threads of this process to these cores. Children begin where the thread is that starts them.
fn settle(cores: &[usize]) -> Result<(), Failure> {
    let list: Vec<_> = cores.iter().map(usize::to_string).collect();
    let mut command = Command::new("taskset");
    command.args(["-a", "-c", "-p", &list.join(",")]).arg(std::process::id().to_string());
    let done = command.output().while_doing("taskset (of util-linux) cannot be started")?;
    if done.status.success() {
        return Ok(());
    }
    Err(Failure(format!("taskset: {}", String::from_utf8_lossy(&done.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_has_a_core_of_its_own_where_there_are_two() {
        let cores = Cores { all: vec![2, 5, 7] };
        assert_eq!((cores.measured(), cores.others()), (7, &[2, 5][..]));
        let cores = Cores { all: vec![3] };
        assert_eq!((cores.measured(), cores.others()), (3, &[3][..]));
    }
}
