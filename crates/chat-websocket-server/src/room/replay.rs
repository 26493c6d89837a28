//! Sends a session the events it has missed, from the log, at the pace at which the client reads.

use std::{sync::Arc, time::Duration};

use chat_domain::ChannelId;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{control::Control, event::RoomEvent, inbox::Inbox};
use crate::{
    protocol::{CloseReason, ErrorCode, ServerFrame},
    reader::LogReader,
    session::SessionHandle,
};

/// Reads of the log that may fail one after the other before the client is sent away to try again later.
const ATTEMPTS: u32 = 5;
/// How long to wait after the first failed read; doubled each time.
const BACKOFF: Duration = Duration::from_millis(100);

/// A replay of one channel for one session.
pub(super) struct Replay {
    pub(super) channel_id: ChannelId,
    pub(super) session: Arc<SessionHandle>,
    /// Tells this replay from earlier ones of the session.
    pub(super) number: u64,
    /// The last event that the client has.
    pub(super) after: u64,
    /// The last event to send: the room has seen it, and with it who has left until then.
    pub(super) upto: u64,
    /// Ends it: what the room says to the session after that comes after what was replayed.
    pub(super) ended: CancellationToken,
}

impl Replay {
    /// Sends `after + 1 ..= upto`, then tells the room.
    pub(super) async fn run(self, reader: Arc<LogReader>, room: Arc<Inbox>) {
        let mut after = self.after;
        while after < self.upto {
            let Some(events) = self.read(&reader, after).await else {
                self.give_up();
                return;
            };
            for event in events {
                // One by one: a page of long messages is more than a whole outbox holds.
                if !self.session.outbox.has_space().await {
                    return;
                }
                self.session.outbox.push_unless(&self.ended, event.frame);
                after = event.seq;
            }
        }
        room.report(Control::CaughtUp { session_id: self.session.id, replay: self.number, after });
    }

    /// The next page, or `None` if the log cannot be read. A hole in the log is as bad as an error: nothing is skipped.
    async fn read(&self, reader: &LogReader, after: u64) -> Option<Vec<RoomEvent>> {
        let mut wait = BACKOFF;
        for _ in 0..ATTEMPTS {
            match reader.replay(self.channel_id, after, self.upto - after).await {
                Ok(logged) => {
                    let events: Vec<_> = logged.iter().filter_map(|event| RoomEvent::from_log(event).ok()).collect();
                    let whole = events.iter().zip(after + 1..).all(|(event, seq)| event.seq == seq);
                    if whole && !events.is_empty() {
                        return Some(events);
                    }
                    warn!(channel.id = %self.channel_id, log.after = after, "the log has a hole or an entry that does not decode");
                }
                Err(error) => warn!(channel.id = %self.channel_id, error = %error, "replay could not read the log"),
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        None
    }

    fn give_up(&self) {
        let error =
            ServerFrame::error(None, Some(self.channel_id), ErrorCode::Unavailable, "the log cannot be read now");
        self.session.outbox.push(error.encode());
        // The client would wait for a SUBSCRIBED that does not come. It returns with what it has.
        self.session.outbox.close(CloseReason::TryAgainLater);
    }
}
