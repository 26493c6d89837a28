//! What a room is asked to do, by sessions, replays and the reconciler.

use std::sync::Arc;

use chat_domain::ports::{Access, Head};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use uuid::Uuid;

use crate::{
    protocol::{Position, RequestId},
    reader::Page,
    session::SessionHandle,
};

/// What a room is asked to do.
#[derive(Debug)]
pub enum Control {
    /// A session opens the channel.
    Join(Join),
    /// A session closes the channel, or is gone.
    Leave {
        /// Which.
        session_id: Uuid,
        /// To be answered with UNSUBSCRIBED, unless it is gone.
        answer: Option<Answer>,
    },
    /// A replay has sent a session all it was asked to.
    CaughtUp {
        /// Which session.
        session_id: Uuid,
        /// Which of its replays.
        replay: u64,
        /// The first event that was sent.
        from: u64,
        /// The last one.
        after: u64,
        /// The newest of them, for those who come after this one.
        page: Arc<Page>,
    },
    /// The log goes up to here.
    Head(Head),
    /// There is no such log any more.
    Gone,
}

/// A session that opens a channel, and may do so.
#[derive(Debug)]
pub struct Join {
    /// The session.
    pub session: Arc<SessionHandle>,
    /// Of the SUBSCRIBE.
    pub request_id: Option<RequestId>,
    /// Where the client is, if it comes back.
    pub position: Option<Position>,
    /// That the user may listen, read from storage together with the head of the log.
    pub access: Access,
    /// When that read began.
    pub read_at: Instant,
    /// Whether it wants to know who else is here.
    pub presence: bool,
}

/// Who is answered, and under which id.
#[derive(Debug)]
pub struct Answer {
    /// The session.
    pub session: Arc<SessionHandle>,
    /// Of the UNSUBSCRIBE.
    pub request_id: Option<RequestId>,
    /// Of those that rooms may owe the session.
    pub(crate) _one_of: OwnedSemaphorePermit,
}
