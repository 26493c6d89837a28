//! The supplied client: what its owner gets has to be right too.

use std::{collections::HashMap, time::Duration};

use chat_client::{Client, ClientConfig, Item, Position, State, TokenSource};
use tokio_util::sync::CancellationToken;

use super::{Ids, Listener};
use crate::history::Journal;

/// As of the bare listeners, so that their delays can be compared.
const BACKOFF: Duration = Duration::from_millis(500);

pub(super) async fn listen(listener: Listener, stop: CancellationToken) -> Journal {
    let mut journal = listener.journal();
    let mut config = match ClientConfig::new(&listener.urls, TokenSource::fixed(listener.token.as_str())) {
        Ok(config) => config,
        Err(error) => {
            journal.complaints.push(error.to_string());
            return journal;
        }
    };
    config.backoff_first = BACKOFF;
    config.backoff_most = BACKOFF;
    let indices: HashMap<_, _> = listener.channels.iter().map(|(index, id)| (*id, *index)).collect();
    let (client, mut items) = Client::connect(config);
    for id in indices.keys() {
        client.subscribe(*id, Some(Position { seq: 0, epoch: None }));
    }
    while let Some(Some(item)) = stop.run_until_cancelled(items.recv()).await {
        match item {
            Item::Event(event) => {
                let ids: Ids = serde_json::from_slice(&event.body).unwrap_or_default();
                match indices.get(&event.channel_id) {
                    Some(index) => listener.note(&mut journal, *index, event.seq, ids.both()),
                    None => journal.complaints.push(format!("not asked for: {event:?}")),
                }
            }
            Item::State(State::Online { .. }) => journal.connections += 1,
            Item::Reset { .. } | Item::Unsubscribed { .. } | Item::Refused { .. } | Item::Error { .. } => {
                journal.complaints.push(format!("{item:?}"));
            }
            Item::State(State::Closed { .. }) => journal.complaints.push(format!("{item:?}")),
            _ => {}
        }
    }
    client.close().await;
    journal
}
