//! Who listens, and writes down each event that comes.

mod bare;
mod socket;
mod supplied;

use std::{collections::HashMap, sync::Arc};

use chat_domain::ChannelId;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::history::{ActClock, Journal, MessageIds, Receipt};

/// Who listens to what, and where.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) token: String,
    /// The instances.
    pub(crate) urls: Vec<String>,
    /// With their indices.
    pub(crate) channels: Vec<(usize, ChannelId)>,
    /// Does it leave by its own will now and then?
    pub(crate) takes_breaks: bool,
    /// Does it go to the first instance that is there, instead of to any?
    pub(crate) crowds: bool,
    /// Does it use the supplied client, instead of bare frames?
    pub(crate) supplied: bool,
    pub(crate) seed: u64,
    pub(crate) clock: ActClock,
    pub(crate) progress: Arc<Progress>,
}

/// Listens until `stop`. From `no_more_breaks` on it stays, so that everything can be received in the end.
pub(crate) async fn listen(listener: Listener, no_more_breaks: CancellationToken, stop: CancellationToken) -> Journal {
    if listener.supplied {
        return supplied::listen(listener, stop).await;
    }
    bare::listen(listener, no_more_breaks, stop).await
}

/// How far a listener is, for who waits until it has everything.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The newest `seq` of each of its channels, by index.
    newest: Mutex<HashMap<usize, u64>>,
}

impl Progress {
    pub(crate) fn new(channels: impl IntoIterator<Item = usize>) -> Self {
        Self { newest: Mutex::new(channels.into_iter().map(|channel| (channel, 0)).collect()) }
    }

    /// Is it everywhere at least as far as `heads` says for each channel?
    pub(crate) fn has_reached(&self, heads: &HashMap<usize, u64>) -> bool {
        self.newest.lock().iter().all(|(channel, newest)| heads.get(channel).is_none_or(|head| newest >= head))
    }

    fn advance(&self, channel: usize, seq: u64) {
        let mut newest = self.newest.lock();
        let known = newest.entry(channel).or_default();
        *known = seq.max(*known);
    }
}

impl Listener {
    fn journal(&self) -> Journal {
        Journal {
            listener: self.name.clone(),
            channels: self.channels.iter().map(|(index, _)| *index).collect(),
            takes_breaks: self.takes_breaks,
            ..Journal::default()
        }
    }

    fn note(&self, journal: &mut Journal, channel: usize, seq: u64, message: Option<MessageIds>) {
        let (at, connection) = (self.clock.now(), journal.connections);
        journal.receipts.push(Receipt { channel, seq, message, at, connection });
        self.progress.advance(channel, seq);
    }
}

/// The ids in an event, if it is a message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ids {
    message_id: Option<Uuid>,
    client_message_id: Option<Uuid>,
}

impl Ids {
    fn both(&self) -> Option<MessageIds> {
        Some(MessageIds { message_id: self.message_id?, client_message_id: self.client_message_id? })
    }
}
