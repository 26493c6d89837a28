//! A JavaScript program under the Node of `CHAT_TEST_NODE`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::environment::{HOW_TO_GET_IT, variable};
use crate::process::Process;
use crate::wait_for;

const VARIABLE: &str = "CHAT_TEST_NODE";

/// A running (or ended) Node process. Dropping it kills it.
#[derive(Debug)]
pub struct Node {
    process: Process,
    output: PathBuf,
    _folder: TempDir,
}

impl Node {
    /// Starts `node` in `folder` with these arguments.
    ///
    /// # Panics
    /// When there is no Node.
    #[must_use]
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let program = variable(VARIABLE).unwrap_or_else(|| panic!("{VARIABLE} is not set; {HOW_TO_GET_IT}"));
        let own = tempfile::tempdir().expect("a temporary folder can be made");
        let output = own.path().join("output");
        let mut command = Command::new(program);
        command.current_dir(folder).args(arguments);
        Self { process: Process::start(command, &output), output, _folder: own }
    }

    /// All that it has written so far.
    ///
    /// # Panics
    /// When the output cannot be read.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).expect("the output is text")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within `deadline`.
    pub async fn end(&mut self, deadline: Duration) -> (ExitStatus, String) {
        let status = wait_for("the Node program ends", deadline, async || self.process.ended()).await;
        (status, self.output())
    }
}
