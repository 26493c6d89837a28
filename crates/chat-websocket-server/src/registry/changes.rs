//! What the registry has not been told yet.

use std::{collections::HashMap, sync::Arc};

use chat_domain::{ChannelId, UserId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::session::SessionHandle;

/// Most withdrawals that wait, or are kept while they cannot be written. What comes beyond is dropped: the user is taken off
/// the list when it goes.
pub(super) const WITHDRAWALS: usize = 4_096;

/// Sessions whose registration may differ from what Redis has. Who changes a session marks it; what is to be written is
/// found out when it is written, so that a session which changes ten times is written once.
///
/// Bounded by the sessions that there are, and those that ended since the writer last looked, which it does also while
/// Redis is away.
#[derive(Debug, Default)]
pub struct Changes {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    marked: HashMap<Uuid, Arc<SessionHandle>>,
    withdrawn: Vec<(UserId, ChannelId)>,
    resync: Option<Resync>,
}

/// Why everything is to be written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resync {
    /// Once more, because others may not have been done with taking out what they took for dead.
    Precaution,
    /// Something was not as it should be when it was looked at.
    Drift,
    /// Something could not be written.
    Failure,
    /// A connection was made anew, or another server has taken over.
    Interruption,
    /// The lease was gone: Redis lost its memory, or others took this instance for dead.
    LeaseLost,
}

impl Resync {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Precaution, Self::Drift, Self::Failure, Self::Interruption, Self::LeaseLost];

    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Precaution => "precaution",
            Self::Drift => "drift",
            Self::Failure => "failure",
            Self::Interruption => "interruption",
            Self::LeaseLost => "lease_lost",
        }
    }
}

/// What the registry has to be told.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Sessions that may have changed.
    pub sessions: Vec<Arc<SessionHandle>>,
    /// Users who may not be listed in a room any more.
    pub withdrawn: Vec<(UserId, ChannelId)>,
    /// Everything is to be written anew.
    pub resync: Option<Resync>,
}

impl Changes {
    /// Takes note that the session may have changed.
    pub fn mark(&self, session: &Arc<SessionHandle>) {
        self.state.lock().marked.insert(session.id, Arc::clone(session));
        self.filled.notify_one();
    }

    /// Takes note that a user was removed from a channel, and is not to be listed there any more.
    pub fn withdraw(&self, user_id: UserId, channel_id: ChannelId) {
        let mut state = self.state.lock();
        if state.withdrawn.len() < WITHDRAWALS {
            state.withdrawn.push((user_id, channel_id));
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Asks for everything to be written anew. The gravest reason counts.
    pub fn resync(&self, reason: Resync) {
        let mut state = self.state.lock();
        state.resync = state.resync.max(Some(reason));
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until there is something to take.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes all that waits.
    pub fn take(&self) -> Waiting {
        let State { marked, withdrawn, resync } = std::mem::take(&mut *self.state.lock());
        Waiting { sessions: marked.into_values().collect(), withdrawn, resync }
    }

    /// How many sessions wait to be written.
    pub fn len(&self) -> usize {
        self.state.lock().marked.len()
    }

    /// Does none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
