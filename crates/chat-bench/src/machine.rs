//! What the figures were measured on.

use std::fs;

use serde::Serialize;

use crate::cores::Cores;
use crate::failure::{Failure, While};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    /// Cores that this run could use.
    pub(crate) cores: usize,
    pub(crate) memory_gb: u64,
    pub(crate) kernel: String,
    /// `release` or `debug`.
    pub(crate) build: &'static str,
    pub(crate) date: String,
}

impl Machine {
    pub(crate) fn look(cores: &Cores) -> Result<Self, Failure> {
        let processors = read("/proc/cpuinfo")?;
        let memory = read("/proc/meminfo")?;
        let kilobytes = field(&memory, "MemTotal").and_then(|value| value.strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(Self {
            processor: field(&processors, "model name").unwrap_or("of unknown model").to_owned(),
            cores: cores.count(),
            memory_gb: kilobytes.ok_or_else(|| Failure::new("/proc/meminfo is not understood"))? / (1 << 20),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            date: today(),
        })
    }
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).while_doing(path)
}

/// The first value of a name in lines of `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

fn today() -> String {
    use chat_domain::{Clock, SystemClock};
    SystemClock.now().to_string().chars().take_while(|letter| *letter != 'T').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 1\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(field(text, "model name"), Some("AMD EPYC"));
        assert_eq!(field(text, "name"), None);
    }
}
