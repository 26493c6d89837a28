//! From start to end of a process: every task has an owner, and shut-down has a deadline.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

mod scope;
mod signals;
#[cfg(test)]
mod tests;

use scope::Verdict;
pub use scope::{Scope, TaskResult};
use signals::Signals;

/// The background gets this long to finish, after all work has ended.
const BACKGROUND_DRAIN: Duration = Duration::from_secs(1);
/// What is told to stop at once gets this long to do so; then the process ends without it.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Owns the tasks of the process. Cheap to clone.
///
/// Shut-down goes in steps: the soft token asks all work to accept nothing more and to finish; when the drain time is
/// over, or at a second signal, the hard token drops what is left; last, the background scope stops.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    work: Scope,
    background: Scope,
    crashed: Arc<AtomicBool>,
    drain: Duration,
}

impl Lifecycle {
    /// A running process whose work gets `drain` to finish once it is asked to.
    pub fn new(drain: Duration) -> Self {
        Self { work: Scope::default(), background: Scope::default(), crashed: Arc::default(), drain }
    }

    /// Cancelled when the process shall accept nothing more and finish what it has.
    pub fn soft_token(&self) -> &CancellationToken {
        self.work.stopping()
    }

    /// Cancelled when time is up. Tasks of the lifecycle need not watch it: they are dropped.
    pub fn hard_token(&self) -> &CancellationToken {
        self.work.killed()
    }

    /// How long work gets to finish.
    pub fn drain(&self) -> Duration {
        self.drain
    }

    /// The scope of ordinary work, which is drained.
    pub fn work(&self) -> &Scope {
        &self.work
    }

    /// The scope of what must outlive all work, such as the management port or a connection that work still needs
    /// while it finishes.
    pub fn background(&self) -> &Scope {
        &self.background
    }

    /// Runs a task as part of the work. A panic in it is logged and ends this task only.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output: TaskResult> + Send + 'static) {
        self.work.spawn(name, task);
    }

    /// Runs a task that the process cannot do without: if it ends or panics before shut-down, the process drains and
    /// ends with an error.
    pub fn spawn_essential(&self, name: &'static str, task: impl Future<Output: TaskResult> + Send + 'static) {
        self.spawn_essential_in(&self.work, name, task);
    }

    /// The same in the background, where the task goes on until all work has ended.
    pub fn spawn_essential_background(
        &self,
        name: &'static str,
        task: impl Future<Output: TaskResult> + Send + 'static,
    ) {
        self.spawn_essential_in(&self.background, name, task);
    }

    fn spawn_essential_in(
        &self,
        scope: &Scope,
        name: &'static str,
        task: impl Future<Output: TaskResult> + Send + 'static,
    ) {
        let lifecycle = self.clone();
        scope.spawn_and_then(task, move |verdict| {
            if lifecycle.soft_token().is_cancelled() {
                return verdict.log(name);
            }
            match verdict {
                Verdict::Ended => tracing::error!(task.name = name, "an essential task ended, the process stops"),
                Verdict::Failed(why) => {
                    tracing::error!(
                        task.name = name,
                        error.message = why,
                        "an essential task failed, the process stops"
                    );
                }
            }
            lifecycle.crashed.store(true, Ordering::Release);
            lifecycle.shut_down();
        });
    }

    /// Begins the shut-down, as a signal would.
    pub fn shut_down(&self) {
        self.soft_token().cancel();
    }

    /// Waits for SIGTERM or SIGINT (or [`shut_down`](Self::shut_down)) and then ends the process's work.
    /// The exit code is 0, unless an essential task crashed.
    pub async fn run_to_end(&self) -> ExitCode {
        match Signals::listen() {
            Ok(mut signals) => self.run_to_end_with(async || signals.next().await).await.into(),
            Err(error) => {
                tracing::error!(error.message = %error, "cannot listen for signals");
                ExitCode::FAILURE
            }
        }
    }

    /// As [`run_to_end`](Self::run_to_end), with signals from elsewhere: each call waits for the next and names it.
    pub async fn run_to_end_with(&self, mut next_signal: impl AsyncFnMut() -> &'static str) -> Ending {
        let signalled = tokio::select! {
            signal = next_signal() => {
                tracing::info!(signal, drain.seconds = self.drain.as_secs_f64(), "shutting down");
                true
            }
            () = self.soft_token().cancelled() => {
                tracing::info!(drain.seconds = self.drain.as_secs_f64(), "shutting down");
                false
            }
        };
        self.shut_down();

        let forced = tokio::select! {
            () = self.work.wait_until_empty() => false,
            () = sleep(self.drain) => {
                tracing::warn!(tasks.left = self.work.len(), "the drain time is over, stopping what is left");
                true
            }
            () = async {
                // A supervisor's first signal may follow a shut-down that began without one.
                if !signalled {
                    next_signal().await;
                }
                next_signal().await;
            } => {
                tracing::warn!(tasks.left = self.work.len(), "signalled again, stopping what is left");
                true
            }
        };
        kill("work", &self.work).await;
        self.background.stopping().cancel();
        let _ = timeout(BACKGROUND_DRAIN, self.background.wait_until_empty()).await;
        kill("background", &self.background).await;
        tracing::info!("stopped");

        if self.crashed.load(Ordering::Acquire) {
            return Ending::Crashed;
        }
        if forced { Ending::Forced } else { Ending::Drained }
    }
}

async fn kill(name: &str, scope: &Scope) {
    scope.kill();
    if timeout(STOP_TIMEOUT, scope.wait_until_empty()).await.is_err() {
        tracing::error!(scope.name = name, tasks.left = scope.len(), "tasks block their thread and are abandoned");
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All work was finished.
    Drained,
    /// Work was left when time was up, and dropped.
    Forced,
    /// An essential task ended before its time.
    Crashed,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Drained | Ending::Forced => Self::SUCCESS,
            Ending::Crashed => Self::FAILURE,
        }
    }
}
