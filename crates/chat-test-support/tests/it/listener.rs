//! Somebody who listens through the Rust client and notes everything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_client::{Client, ClientConfig, Item, Items, Position, State, TokenSource};
use chat_domain::{ChannelId, MessageId};
use chat_test_support::http_api::HttpApi;
use chat_test_support::wait_until;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The events of a channel: each `seq`, with the message if it is one.
pub(crate) type Heard = Vec<(u64, Option<MessageId>)>;

pub(crate) struct Listener {
    notes: Arc<Notes>,
    _client: Client,
    /// Ends with the listener.
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Notes {
    heard: Mutex<BTreeMap<ChannelId, Heard>>,
    /// When each message came.
    arrivals: Mutex<BTreeMap<MessageId, Instant>>,
    connections: AtomicUsize,
    /// What should not have happened.
    complaint: Mutex<Option<String>>,
}

impl Listener {
    /// Listens to these channels from their beginning.
    pub(crate) fn start(urls: &[String], token: &str, channels: impl Iterator<Item = ChannelId>) -> Self {
        let mut config = ClientConfig::new(urls, TokenSource::fixed(token)).unwrap();
        config.backoff_most = Duration::from_secs(1);
        let (client, items) = Client::connect(config);
        for channel in channels {
            client.subscribe(channel, Some(Position { seq: 0, epoch: None }));
        }
        let notes = Arc::default();
        let mut task = JoinSet::new();
        task.spawn(take_notes(items, Arc::clone(&notes)));
        Self { notes, _client: client, _task: task }
    }

    /// How often it had to connect.
    pub(crate) fn connections(&self) -> usize {
        self.notes.connections.load(Ordering::Relaxed)
    }

    /// When the message came; it has to be heard.
    pub(crate) fn arrival(&self, message: MessageId) -> Instant {
        self.notes.arrivals.lock().unwrap()[&message]
    }

    /// Waits until as much is heard of the channel as its log has, and compares.
    pub(crate) async fn has_heard(&self, channel: ChannelId, log: &Heard, deadline: Duration) {
        let heard = || self.notes.heard.lock().unwrap().get(&channel).cloned().unwrap_or_default();
        wait_until(&format!("{} events of {channel} are heard", log.len()), deadline, async || {
            assert_eq!(*self.notes.complaint.lock().unwrap(), None);
            heard().len() >= log.len()
        })
        .await;
        assert!(heard() == *log, "channel {channel}\n log: {log:?}\nheard: {:?}", heard());
    }
}

async fn take_notes(mut items: Items, notes: Arc<Notes>) {
    while let Some(item) = items.recv().await {
        match item {
            Item::Event(event) => {
                let message = event.message().map(|message| message.expect("a message decodes").message_id);
                notes.arrivals.lock().unwrap().extend(message.map(|message| (message, Instant::now())));
                notes.heard.lock().unwrap().entry(event.channel_id).or_default().push((event.seq, message));
            }
            Item::State(State::Online { .. }) => {
                notes.connections.fetch_add(1, Ordering::Relaxed);
            }
            Item::Reset { .. }
            | Item::Refused { .. }
            | Item::Unsubscribed { .. }
            | Item::State(State::Closed { .. }) => {
                *notes.complaint.lock().unwrap() = Some(format!("{item:?}"));
            }
            _ => {}
        }
    }
}

/// The channel's log, over HTTP.
pub(crate) async fn read_log(api: &HttpApi, channel: ChannelId) -> Heard {
    const PAGE: usize = 100;
    let mut log = Heard::new();
    loop {
        let after = log.len() as u64;
        let page = api.events(channel, after, PAGE).await;
        let last = page.len() < PAGE;
        for event in page {
            let seq = event["seq"].as_u64().expect("an event has a seq");
            assert_eq!(seq, log.len() as u64 + 1, "the log has no hole");
            log.push((seq, event["messageId"].as_str().map(|id| id.parse().unwrap())));
        }
        if last {
            return log;
        }
    }
}
