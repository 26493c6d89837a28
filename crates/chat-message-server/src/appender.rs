//! Group commit: what arrives while one commit runs goes into the next one.
//!
//! Requests put their commands into one bounded queue. A single task takes what waits, has it committed in one
//! transaction, hands the events to the [`Outbox`] in the order of the log, and then answers each request. There is no
//! fixed wait: an idle server commits a command at once, a busy one commits many together.

use std::{slice, sync::Arc, time::Duration};

use chat_domain::{
    Command, Refusal,
    ledger::Action,
    ports::{Appended, Storage, StorageError},
};
use chat_events::UserSignal;
use common_server::Lifecycle;
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{metrics::Metrics, outbox::Outbox};

#[cfg(test)]
mod tests;
mod trace;

pub(crate) use trace::AppendTrace;

/// Larger batches were slower on SQLite and no faster on PostgreSQL.
const LARGEST_BATCH: usize = 256;

/// Longer than any healthy commit, and a bound on how long a stuck store holds up everybody.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(15);

/// Gives commands to the committing task.
#[derive(Clone)]
pub(crate) struct Appender {
    queue: mpsc::Sender<Job>,
    metrics: Arc<Metrics>,
}

struct Job {
    command: Command,
    trace: Option<Box<AppendTrace>>,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, Error)]
pub(crate) enum AppendError {
    /// A rule says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The queue is full: commits do not keep up.
    #[error("too many commands wait")]
    Overloaded,
    /// The committing task is gone, which happens only while the process ends.
    #[error("the server is shutting down")]
    Closed,
    /// The store cannot be reached; it is not known whether the command was carried out.
    #[error("storage is unavailable")]
    Unavailable,
    /// The store failed in a way that a retry does not mend.
    #[error("storage failed")]
    Failed,
}

impl Appender {
    /// Starts the committing task. It ends when every clone of this handle was dropped and everything accepted is
    /// answered. At most `capacity` commands wait; more are refused at once, so that callers hear of an overload in time.
    pub(crate) fn start(
        storage: Arc<dyn Storage>,
        outbox: Outbox,
        metrics: Arc<Metrics>,
        capacity: usize,
        lifecycle: &Lifecycle,
    ) -> Self {
        let (queue, jobs) = mpsc::channel(capacity);
        metrics.append_queue_holds(capacity);
        let task = Task { storage, outbox, metrics: metrics.clone(), jobs };
        lifecycle.spawn_essential("appender", task.run());
        Self { queue, metrics }
    }

    /// Has the command committed. A caller that goes away while it waits does no harm: the command is carried out.
    /// The trace of a traced request goes with it.
    pub(crate) async fn append(
        &self,
        command: Command,
        trace: Option<Box<AppendTrace>>,
    ) -> Result<Appended, AppendError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Job { command, trace, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => AppendError::Closed,
        })?;
        self.metrics.append_queued(self.queue.max_capacity() - self.queue.capacity());
        answered.await.unwrap_or(Err(AppendError::Closed))
    }
}

struct Task {
    storage: Arc<dyn Storage>,
    outbox: Outbox,
    metrics: Arc<Metrics>,
    jobs: mpsc::Receiver<Job>,
}

impl Task {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(LARGEST_BATCH);
        while self.jobs.recv_many(&mut batch, LARGEST_BATCH).await > 0 {
            self.commit(std::mem::take(&mut batch)).await;
        }
    }

    async fn commit(&self, jobs: Vec<Job>) {
        let (commands, waiting): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.command, (job.trace, job.answer))).unzip();
        let signals: Vec<_> = commands.iter().map(|command| signal(&command.action)).collect();
        self.metrics.append_queued(self.jobs.len());
        let results = self.append_each(&commands).await;
        for ((result, signal), (trace, answer)) in results.into_iter().zip(signals).zip(waiting) {
            let publish = trace.and_then(|trace| trace.answered(&result));
            // Before the caller hears of it, so that publications have the order of the log.
            if let Ok(Appended { event: Some(event), .. }) = &result {
                self.outbox.event(event, publish);
                signal.iter().for_each(|signal| self.outbox.signal(signal));
            }
            // The caller may have gone away.
            let _ = answer.send(result);
        }
    }

    /// Has the batch committed. If the store chokes on it, one by one, so that one bad command fails alone.
    async fn append_each(&self, commands: &[Command]) -> Vec<Result<Appended, AppendError>> {
        let count = commands.len();
        match self.append(commands).await {
            Ok(results) => results,
            Err(AppendError::Failed) if count > 1 => {
                let mut results = Vec::with_capacity(count);
                for command in commands {
                    let single = self.append(slice::from_ref(command)).await;
                    let result = single.and_then(|mut one| one.pop().unwrap_or(Err(AppendError::Failed)));
                    let unavailable = matches!(result, Err(AppendError::Unavailable));
                    results.push(result);
                    if unavailable {
                        // The rest would wait for the same store, each as long as this one did.
                        break;
                    }
                }
                results.resize_with(count, || Err(AppendError::Unavailable));
                results
            }
            Err(error) => vec![Err(error); count],
        }
    }

    async fn append(&self, commands: &[Command]) -> Result<Vec<Result<Appended, AppendError>>, AppendError> {
        let (count, started) = (commands.len(), Instant::now());
        let outcome = tokio::time::timeout(COMMIT_TIMEOUT, self.storage.append(commands)).await;
        self.metrics.appended(count, started.elapsed());
        match outcome {
            Ok(Ok(results)) if results.len() == count => {
                Ok(results.into_iter().map(|result| result.map_err(AppendError::from)).collect())
            }
            Ok(Ok(results)) => {
                tracing::error!(batch.size = count, batch.answers = results.len(), "storage answered too few commands");
                Err(AppendError::Failed)
            }
            Ok(Err(error)) => Err(self.failed(&error, count)),
            Err(_) => {
                tracing::error!(batch.size = count, timeout = ?COMMIT_TIMEOUT, "a commit took too long");
                Err(AppendError::Unavailable)
            }
        }
    }

    /// The one place where a failed commit is logged; its callers hear the kind only.
    fn failed(&self, error: &StorageError, count: usize) -> AppendError {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(batch.size = count, error = %error, error.cause = cause, "a commit failed");
        match error {
            StorageError::Unavailable { .. } => AppendError::Unavailable,
            StorageError::Failed { .. } => AppendError::Failed,
        }
    }
}

/// What the user hears who is brought in or goes.
fn signal(action: &Action) -> Option<UserSignal> {
    match *action {
        Action::AddMember { channel_id, user_id, .. } => Some(UserSignal::ChannelAdded { user_id, channel_id }),
        Action::RemoveMember { channel_id, user_id, .. } => Some(UserSignal::ChannelRemoved { user_id, channel_id }),
        Action::Send(_) | Action::ChangeDetails { .. } | Action::Close { .. } => None,
    }
}
