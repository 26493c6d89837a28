//! A set of tasks that stop together.

use std::{any::Any, collections::HashMap, fmt::Display, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Tasks with one pair of tokens: the first asks them to finish, the second is cancelled when they are dropped.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    tasks: TaskTracker,
    stop: CancellationToken,
    killed: CancellationToken,
    /// How to drop those that run. They do not watch a token for it: with many thousand tasks that costs more than what
    /// they do.
    running: Arc<Mutex<Running>>,
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

    pub(super) const fn killed(&self) -> &CancellationToken {
        &self.killed
    }

    /// Drops all tasks, also those to come.
    pub(super) fn kill(&self) {
        // In this order: who is listed afterwards sees it.
        self.killed.cancel();
        let places = std::mem::take(&mut self.running.lock().places);
        places.values().flatten().for_each(AbortHandle::abort);
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
        if self.killed.is_cancelled() {
            return;
        }
        // A runtime that ends drops the task at once, in the middle of spawning it: no lock is held then.
        let listed = Listed::new(&self.running);
        let id = listed.id;
        // Not an async block: that would keep room for the task twice.
        let spawned = self.tasks.spawn(AssertUnwindSafe(task).catch_unwind().map(move |ended| {
            drop(listed);
            then(match ended {
                Ok(result) => result.failure().map_or(Verdict::Ended, Verdict::Failed),
                Err(panic) => Verdict::Failed(panic_message(panic.as_ref())),
            });
        }));
        if let Some(place) = self.running.lock().places.get_mut(&id) {
            *place = Some(spawned.abort_handle());
        }
        // Who was killed in between had no handle on the list.
        if self.killed.is_cancelled() {
            spawned.abort();
        }
    }
}

/// The tasks that run, by a number each.
#[derive(Debug, Default)]
struct Running {
    next: u64,
    /// Empty while the task is being spawned.
    places: HashMap<u64, Option<AbortHandle>>,
}

/// A task's place on the list, for as long as the task is there.
struct Listed {
    id: u64,
    running: Arc<Mutex<Running>>,
}

impl Listed {
    fn new(running: &Arc<Mutex<Running>>) -> Self {
        let mut list = running.lock();
        list.next += 1;
        let id = list.next;
        list.places.insert(id, None);
        Self { id, running: Arc::clone(running) }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.running.lock().places.remove(&self.id);
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

/// How a task came to its end. One that is dropped is not judged.
pub(super) enum Verdict {
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
