//! What is on its way to the bus. Publishing never holds up a request and never fails one: the log is the truth, and who
//! missed a publication reads it there.

use std::sync::Arc;

use bytes::Bytes;
use chat_domain::ports::LoggedEvent;
use chat_events::{
    Topic, UserSignal,
    bus::{Publication, Publisher},
};
use common_logging::trace::Span;
use common_server::Lifecycle;
use tokio::sync::mpsc;

use crate::metrics::Metrics;

#[cfg(test)]
mod tests;

/// How many publications go out in one pipeline.
const LARGEST_BATCH: usize = 512;

/// Puts publications on their way, in order.
#[derive(Clone)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<Outgoing>,
    metrics: Arc<Metrics>,
}

/// A publication that waits, with its span if its request is traced.
struct Outgoing {
    publication: Publication,
    span: Option<Span>,
}

impl Outbox {
    /// Starts the publishing task. It ends when every clone of this handle was dropped and everything that waits has gone
    /// out or was refused: a bus that does not answer refuses at once. At most `capacity` publications wait; what comes when
    /// they do is dropped and counted, because a queue that full means that the bus does not keep up, and readers catch up
    /// from the log anyway.
    pub(crate) fn start(
        publisher: Arc<dyn Publisher>,
        metrics: Arc<Metrics>,
        capacity: usize,
        lifecycle: &Lifecycle,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(capacity);
        metrics.publish_queue_holds(capacity);
        let task = Task { publisher, metrics: metrics.clone(), waiting, failing: false };
        lifecycle.spawn_essential("outbox", task.run());
        Self { queue, metrics }
    }

    /// Publishes an event to its room, byte for byte as it was logged. The span ends when it has gone out.
    pub(crate) fn event(&self, event: &LoggedEvent, span: Option<Span>) {
        self.put(Topic::Room(event.channel_id), event.body.clone(), span);
    }

    /// Publishes a signal to its user.
    pub(crate) fn signal(&self, signal: &UserSignal) {
        self.put(Topic::User(signal.user_id()), signal.to_json(), None);
    }

    fn put(&self, topic: Topic, payload: Bytes, span: Option<Span>) {
        let outgoing = Outgoing { publication: Publication { topic, payload }, span };
        if let Err(error) = self.queue.try_send(outgoing) {
            self.metrics.publications_failed(1);
            if let Some(mut span) = error.into_inner().span {
                span.fail("the queue is full");
            }
        }
    }
}

struct Task {
    publisher: Arc<dyn Publisher>,
    metrics: Arc<Metrics>,
    waiting: mpsc::Receiver<Outgoing>,
    failing: bool,
}

impl Task {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(LARGEST_BATCH);
        while self.waiting.recv_many(&mut batch, LARGEST_BATCH).await > 0 {
            self.publish(std::mem::take(&mut batch)).await;
            self.metrics.publications_queued(self.waiting.len());
        }
    }

    /// Logs when publishing begins to fail and when it works again, not each failure: with the bus away there are many.
    async fn publish(&mut self, batch: Vec<Outgoing>) {
        let count = batch.len();
        let mut spans = Vec::new();
        let batch = batch.into_iter().map(|outgoing| {
            spans.extend(outgoing.span);
            outgoing.publication
        });
        let batch = batch.collect();
        self.metrics.publishing(count);
        let outcome = self.publisher.publish(batch).await;
        if let Err(error) = &outcome {
            self.metrics.publications_failed(count);
            spans.iter_mut().for_each(|span| span.fail(error.to_string()));
        }
        match outcome {
            Err(error) if !self.failing => {
                tracing::warn!(error = %error, batch.size = count, "publishing fails; readers will repair from the log");
                self.failing = true;
            }
            Ok(()) if self.failing => {
                tracing::info!("publishing works again");
                self.failing = false;
            }
            Ok(()) | Err(_) => {}
        }
    }
}
