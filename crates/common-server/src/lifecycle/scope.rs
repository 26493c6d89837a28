//! A set of tasks that stop together.

use std::{any::Any, fmt::Display, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Tasks with one pair of tokens: the first asks them to finish, the second drops them.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    tasks: TaskTracker,
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Scope {
    /// Runs a task in this scope. A failure or panic in it is logged and ends this task only.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output: TaskResult> + Send + 'static) {
        self.spawn_and_then(task, move |verdict| verdict.log(name));
    }

    /// Cancelled when the tasks shall finish.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// How many tasks run.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Does no task run?
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(super) fn killed(&self) -> &CancellationToken {
        &self.kill
    }

    pub(super) async fn wait_until_empty(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(super) fn spawn_and_then(
        &self,
        task: impl Future<Output: TaskResult> + Send + 'static,
        then: impl FnOnce(Verdict) + Send + 'static,
    ) {
        let kill = self.kill.clone();
        self.tasks.spawn(async move {
            then(tokio::select! {
                biased;
                () = kill.cancelled() => Verdict::Killed,
                ended = AssertUnwindSafe(task).catch_unwind() => match ended {
                    Ok(result) => result.failure().map_or(Verdict::Ended, Verdict::Failed),
                    Err(panic) => Verdict::Failed(panic_message(panic.as_ref())),
                },
            });
        });
    }
}

/// What a task may return: nothing, or a result whose error says why it failed.
pub trait TaskResult {
    /// Why the task failed, if it did.
    fn failure(self) -> Option<String>;
}

impl TaskResult for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display> TaskResult for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// How a task came to its end.
pub(super) enum Verdict {
    Killed,
    Ended,
    Failed(String),
}

impl Verdict {
    pub(super) fn log(self, name: &'static str) {
        if let Self::Failed(why) = self {
            tracing::error!(task.name = name, error.message = why, "a task failed");
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", message.unwrap_or("no message"))
}
