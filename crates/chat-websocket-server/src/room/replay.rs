//! Sends a session the events it has missed, from the log, at the pace at which the client reads.
//!
//! What thousands of replays hold together is bounded: a session has one under way, the others wait in line and are a few
//! words each; a replay waits until its client has taken nearly all of what it was sent before it asks for the next page,
//! and lets go of the page before it waits again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{RoomContext, control::Control, inbox::Inbox};
use crate::{
    metrics::Metrics,
    protocol::{CloseReason, ErrorCode, ServerFrame},
    reader::{Log, LogReader},
    session::SessionHandle,
};

/// Reads of the log that may fail one after the other before the client is sent away to try again later.
const ATTEMPTS: u32 = 5;
/// How long to wait after the first failed read; doubled each time.
const BACKOFF: Duration = Duration::from_millis(100);

/// A replay of one channel for one session.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) log: Log,
    /// Tells this replay from earlier ones of the session.
    pub(super) number: u64,
    /// The last event that the client has.
    pub(super) after: u64,
    /// The last event to send, which the client does not have: the room has seen it, and with it who has left until then.
    pub(super) upto: u64,
    /// Ends it: what the room says to the session after that comes after what was replayed.
    pub(super) ended: CancellationToken,
    /// Told when it is done.
    pub(super) room: Arc<Inbox>,
}

/// The replays of one session, in the order in which they were asked for. At most one for each channel is not ended.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Replay>,
    /// There is a task that takes them.
    served: bool,
}

impl Replays {
    /// Runs a replay after those that were asked for before.
    pub(super) fn add(&self, replay: Replay, session: &Arc<SessionHandle>, context: &RoomContext) {
        context.metrics.replays.inc();
        let mut queue = self.queue.lock();
        // A client that subscribes again and again leaves ended ones behind.
        queue.waiting.retain(|waiting| !waiting.ended.is_cancelled());
        queue.waiting.push_back(replay);
        if std::mem::replace(&mut queue.served, true) {
            return;
        }
        drop(queue);
        let (session, context) = (Arc::clone(session), context.clone());
        let replaying = Replaying::new(session, Arc::clone(&context.metrics));
        context.tasks.clone().spawn("replays", async move {
            while let Some(replay) = replaying.session.replays.next() {
                replay.run(&replaying.session, &context.reader).await;
            }
            replaying.end();
        });
    }

    fn next(&self) -> Option<Replay> {
        let mut queue = self.queue.lock();
        let next = queue.waiting.pop_front();
        queue.served = next.is_some();
        next
    }
}

/// A session whose replays are run. If that ends in the middle, as by a panic, the session ends too: nothing else would
/// bring it on.
struct Replaying {
    session: Arc<SessionHandle>,
    metrics: Arc<Metrics>,
    done: bool,
}

impl Replaying {
    fn new(session: Arc<SessionHandle>, metrics: Arc<Metrics>) -> Self {
        metrics.replaying.inc();
        Self { session, metrics, done: false }
    }

    fn end(mut self) {
        self.done = true;
    }
}

impl Drop for Replaying {
    fn drop(&mut self) {
        self.metrics.replaying.dec();
        if !self.done {
            self.session.outbox.close(CloseReason::Internal);
        }
    }
}

impl Replay {
    /// Sends `after + 1 ..= upto`, then tells the room. Its reads are shared with others, and so end even if it is ended.
    async fn run(self, session: &SessionHandle, reader: &LogReader) {
        let (mut after, mut failures) = (self.after, 0);
        loop {
            let has_space = self.ended.run_until_cancelled(session.outbox.has_space()).await;
            if has_space != Some(true) {
                return;
            }
            // Storage is waited for without a turn, so that sessions whose page is in memory do not wait for it too.
            if reader.page(self.log, after + 1, self.upto).await.is_some() {
                let Some(_turn) = self.ended.run_until_cancelled(reader.turn()).await else { return };
                if let Some(page) = reader.page(self.log, after + 1, self.upto).await {
                    failures = 0;
                    let events = page.events(after + 1, self.upto).cloned();
                    after += session.outbox.push_while_space(&self.ended, events);
                    if after == self.upto {
                        let (session_id, replay, from) = (session.id, self.number, self.after + 1);
                        return self.room.report(Control::CaughtUp { session_id, replay, from, after, page });
                    }
                    continue;
                }
            }
            failures += 1;
            if failures == ATTEMPTS {
                return self.give_up(session);
            }
            let backoff = tokio::time::sleep(BACKOFF * 2_u32.pow(failures - 1));
            let _: Option<()> = self.ended.run_until_cancelled(backoff).await;
        }
    }

    fn give_up(&self, session: &SessionHandle) {
        let channel_id = Some(self.log.channel_id);
        let error = ServerFrame::error(None, channel_id, ErrorCode::Unavailable, "the log cannot be read now");
        session.outbox.push(error.encode());
        // The client would wait for a SUBSCRIBED that does not come. It returns with what it has.
        session.outbox.close(CloseReason::TryAgainLater);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::subscribers::tests::subscriber, *};

    #[test]
    fn a_session_whose_replays_end_in_the_middle_ends_too() {
        for done in [false, true] {
            let session = subscriber().session;
            let metrics = Arc::<Metrics>::default();
            let replaying = Replaying::new(Arc::clone(&session), Arc::clone(&metrics));
            assert_eq!(metrics.replaying.get(), 1);
            if done {
                replaying.end()
            } else {
                drop(replaying)
            }
            assert_eq!(metrics.replaying.get(), 0);
            assert_eq!(session.outbox.closed(), (!done).then_some(CloseReason::Internal));
        }
    }
}
