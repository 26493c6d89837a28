//! A steady load, and who listens to it: what was acknowledged, what was heard, and when.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_domain::{ChannelId, MessageId};
use chat_test_support::http_api::HttpApi;
use chat_test_support::wait_until;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::stock::{DEADLINE, Stock};

/// A send that is not answered by then is tried again elsewhere.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A message that the HTTP API took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledged {
    pub(crate) message: MessageId,
    pub(crate) at: Instant,
}

/// Senders, one a channel, until it is stopped.
pub(crate) struct Load {
    enough: Arc<AtomicBool>,
    senders: JoinSet<Vec<Acknowledged>>,
}

impl Load {
    /// Sends into each channel every `interval`. What is not taken is sent again, under the same id, to the next server.
    pub(crate) fn start(servers: &[HttpApi], channels: &[ChannelId], interval: Duration) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let mut senders = JoinSet::new();
        for (index, channel) in channels.iter().copied().enumerate() {
            let (servers, enough) = (servers.to_vec(), Arc::clone(&enough));
            senders.spawn(async move {
                let mut servers = servers.iter().cycle().skip(index);
                let mut acknowledged = Vec::new();
                let mut ticks = tokio::time::interval(interval);
                while !enough.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let id = format!("load-{channel}-{}", acknowledged.len());
                    acknowledged.push(send(&mut servers, channel, &id).await);
                }
                acknowledged
            });
        }
        Self { enough, senders }
    }

    /// Ends it: all that was acknowledged.
    pub(crate) async fn stop(self) -> Vec<Acknowledged> {
        self.enough.store(true, Ordering::Relaxed);
        let all = timeout(DEADLINE, self.senders.join_all()).await.expect("every send is acknowledged in the end");
        all.into_iter().flatten().collect()
    }
}

async fn send<'a>(servers: &mut impl Iterator<Item = &'a HttpApi>, channel: ChannelId, id: &str) -> Acknowledged {
    loop {
        let server = servers.next().expect("an endless cycle");
        match timeout(ANSWER_DEADLINE, server.try_send(channel, id, id)).await {
            Ok(Ok(answer)) if answer.status.is_success() => {
                let message = answer.body["messageId"].as_str().unwrap().parse().unwrap();
                return Acknowledged { message, at: Instant::now() };
            }
            Ok(Ok(answer)) => {
                assert_eq!(answer.status, 503, "{}", answer.body);
                assert!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
            }
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Somebody who listens on one connection and notes what comes.
pub(crate) struct Watcher {
    notes: Arc<Mutex<Notes>>,
    /// Ends with the watcher.
    _task: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Notes {
    heard: BTreeMap<MessageId, Instant>,
    last: BTreeMap<ChannelId, u64>,
    complaint: Option<String>,
}

impl Watcher {
    /// Takes over a session that has subscribed already.
    pub(crate) fn start(mut session: Stock) -> Self {
        let notes = Arc::new(Mutex::new(Notes::default()));
        let mut task = JoinSet::new();
        let notebook = Arc::clone(&notes);
        task.spawn(async move {
            loop {
                let frame = session.next().await;
                if !notebook.lock().unwrap().take(frame) {
                    return;
                }
            }
        });
        Self { notes, _task: task }
    }

    /// How many messages came.
    pub(crate) fn heard(&self) -> usize {
        self.notes.lock().unwrap().heard.len()
    }

    /// Waits until everything acknowledged is heard, once and in order on the one connection. Returns each message's delay
    /// from its acknowledgement, with the moment of that.
    pub(crate) async fn delays(&self, acknowledged: &[Acknowledged], deadline: Duration) -> Vec<(Instant, Duration)> {
        wait_until(&format!("{} messages are heard", acknowledged.len()), deadline, async || {
            assert_eq!(self.notes.lock().unwrap().complaint, None);
            self.heard() >= acknowledged.len()
        })
        .await;
        let notes = self.notes.lock().unwrap();
        let delay = |one: &Acknowledged| notes.heard[&one.message].saturating_duration_since(one.at);
        acknowledged.iter().map(|one| (one.at, delay(one))).collect()
    }
}

impl Notes {
    /// Notes a frame; false at the end.
    fn take(&mut self, frame: Result<serde_json::Value, Option<u16>>) -> bool {
        let frame = match frame {
            Ok(frame) => frame,
            Err(code) => {
                self.complaint = Some(format!("closed with {code:?}"));
                return false;
            }
        };
        let Some(seq) = frame["seq"].as_u64() else {
            if !frame["type"].as_str().is_some_and(|kind| kind.starts_with("CHANNEL_")) {
                self.complaint = Some(format!("unexpected: {frame}"));
            }
            return true;
        };
        let channel = frame["channelId"].as_str().unwrap().parse().unwrap();
        let last = self.last.insert(channel, seq);
        if last.is_some_and(|last| seq != last + 1) {
            self.complaint = Some(format!("after {last:?} came {frame}"));
        }
        if let Some(message) = frame["messageId"].as_str() {
            self.heard.insert(message.parse().unwrap(), Instant::now());
        }
        true
    }
}

/// The delay that a part of them, such as 0.5, does not exceed.
pub(crate) fn quantile(delays: impl Iterator<Item = Duration>, part: f64) -> Duration {
    let mut delays: Vec<_> = delays.collect();
    delays.sort_unstable();
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
    let index = (delays.len() as f64 * part) as usize;
    *delays.get(index.min(delays.len().saturating_sub(1))).expect("there are delays")
}
