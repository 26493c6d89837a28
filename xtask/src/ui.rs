//! What the commands print. On a terminal a step spins until it is done; elsewhere each line is printed once.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Prints one line.
pub(crate) fn say(line: impl AsRef<str>) {
    // Nobody is left to tell when standard output is closed.
    let _ = writeln!(std::io::stdout(), "{}", line.as_ref());
}

/// Prints a line about a failure.
pub(crate) fn complain(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", line.as_ref());
}

/// Something that takes a moment.
pub(crate) struct Step {
    bar: ProgressBar,
    name: String,
    started: Instant,
}

impl Step {
    pub(crate) fn begin(name: impl Into<String>) -> Self {
        let name = name.into();
        // Hidden where standard error is no terminal.
        let bar = ProgressBar::new_spinner().with_message(name.clone());
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} … {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, name, started: Instant::now() }
    }

    pub(crate) fn done(self) {
        self.bar.finish_and_clear();
        say(format!("  ✓ {} ({})", self.name, seconds(self.started.elapsed())));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    let secs = duration.as_secs();
    if secs < 60 { format!("{:.2} s", duration.as_secs_f64()) } else { format!("{} min {:02} s", secs / 60, secs % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        assert_eq!(seconds(Duration::from_millis(1234)), "1.23 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }
}
