//! Ctrl-C and SIGTERM, so that a command can stop what it started before it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::outcome::{Outcome, While};

/// Whether somebody asked this command to stop.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on these signals only set the flag.
    pub(crate) fn install() -> Outcome<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).while_doing("installing the signal handlers")?;
        }
        Ok(Self(flag))
    }

    /// As if somebody had asked.
    #[cfg(test)]
    pub(crate) fn come(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
