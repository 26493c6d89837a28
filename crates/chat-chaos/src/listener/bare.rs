//! A bare client: it repairs nothing and hides nothing, so that what it writes down is what the servers sent.

use std::{collections::HashMap, time::Duration};

use chat_domain::ChannelId;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Error;
use tokio_util::sync::CancellationToken;

use super::{
    Listener,
    socket::{Ended, Frame, Socket},
};
use crate::history::Journal;

/// What an instance that stops, or cannot ask storage, may answer to an upgrade.
const PASSING_REFUSALS: [u16; 2] = [429, 503];
/// Why this load may be sent away: at the end of an instance, without storage, after a pause, or having read too slowly.
const PASSING_CODES: [u16; 7] = [1000, 1001, 1012, 1013, 4009, 4020, 4022];

/// Between two tries to connect, at most.
const BACKOFF: Duration = Duration::from_millis(500);
/// After the first, and at most the second on top, a listener moves to another instance: one that was restarted would stay empty, and what
/// is done to it would prove nothing.
const SHORTEST_STAY: Duration = Duration::from_secs(4);
const ROAM: Duration = Duration::from_secs(16);
/// How long one who takes breaks is there, at most.
const STAY: Duration = Duration::from_secs(12);
/// How long it is away, at most.
const BREAK: Duration = Duration::from_secs(6);
/// So that a SUBSCRIBE fits into a frame.
const CHANNELS_PER_FRAME: usize = 64;

pub(super) async fn listen(listener: Listener, no_more_breaks: CancellationToken, stop: CancellationToken) -> Journal {
    let place = |(index, id): &(usize, ChannelId)| (*id, Place { index: *index, seq: 0, epoch: None });
    let mut bare = Bare {
        places: listener.channels.iter().map(place).collect(),
        journal: listener.journal(),
        random: StdRng::seed_from_u64(listener.seed),
        listener,
    };
    let _: Option<()> = stop.run_until_cancelled(bare.come_and_go(&no_more_breaks)).await;
    bare.journal
}

struct Bare {
    listener: Listener,
    places: HashMap<ChannelId, Place>,
    journal: Journal,
    random: StdRng,
}

/// How far it is in a channel.
struct Place {
    index: usize,
    seq: u64,
    epoch: Option<String>,
}

impl Bare {
    async fn come_and_go(&mut self, no_more_breaks: &CancellationToken) {
        while self.listener.takes_breaks && !no_more_breaks.is_cancelled() {
            let stay = self.up_to(STAY);
            let _: Result<(), _> = timeout(stay, self.be_there()).await;
            sleep(self.up_to(BREAK)).await;
        }
        self.be_there().await;
    }

    /// Comes back as often as the connection ends.
    async fn be_there(&mut self) {
        let mut failures = 0;
        loop {
            let urls = &self.listener.urls;
            let instance = if self.listener.crowds { failures } else { self.random.random_range(0..urls.len()) };
            failures += 1;
            match Socket::connect(&urls[instance % urls.len()], &self.listener.token).await {
                Ok(socket) => {
                    failures = 0;
                    self.journal.connections += 1;
                    let stay = if self.listener.crowds { Duration::MAX } else { SHORTEST_STAY + self.up_to(ROAM) };
                    if timeout(stay, self.hear(socket)).await.is_err() {
                        continue;
                    }
                }
                Err(Error::Http(refusal)) if !PASSING_REFUSALS.contains(&refusal.status().as_u16()) => {
                    self.journal.complaints.push(format!("the upgrade was refused with {}", refusal.status()));
                }
                Err(_) => {}
            }
            sleep(self.up_to(BACKOFF)).await;
        }
    }

    async fn hear(&mut self, mut socket: Socket) {
        for request in self.requests() {
            if socket.send(&request).await.is_err() {
                return;
            }
        }
        loop {
            let text = match socket.next().await {
                Ok(text) => text,
                Err(Ended::Closed(code)) if !PASSING_CODES.contains(&code) => {
                    return self.journal.complaints.push(format!("the connection was closed with {code}"));
                }
                Err(_) => return,
            };
            let Ok(frame) = serde_json::from_str::<Frame>(&text) else {
                self.journal.complaints.push(format!("does not decode: {text}"));
                return;
            };
            match frame.kind.as_str() {
                "RECONNECT" => return sleep(Duration::from_millis(frame.after_ms.unwrap_or(0))).await,
                // It comes back, and asks again.
                "ERROR" if frame.retryable => return,
                "HELLO" | "PONG" => {}
                "SUBSCRIBED" => self.remember_epoch(frame),
                _ => self.note(&frame, &text),
            }
        }
    }

    fn note(&mut self, frame: &Frame, text: &str) {
        let place = frame.channel_id.and_then(|id| self.places.get_mut(&id));
        let (Some(place), Some(seq)) = (place, frame.seq) else {
            // RESET, UNSUBSCRIBED and whatever else: nothing in this load leads to it.
            return self.journal.complaints.push(text.to_owned());
        };
        place.seq = place.seq.max(seq);
        self.listener.note(&mut self.journal, place.index, seq, frame.ids.both());
    }

    fn remember_epoch(&mut self, frame: Frame) {
        if let Some(place) = frame.channel_id.and_then(|id| self.places.get_mut(&id)) {
            place.epoch = frame.epoch;
        }
    }

    fn requests(&self) -> Vec<Value> {
        let wishes: Vec<_> = self
            .places
            .iter()
            .map(|(id, place)| match &place.epoch {
                Some(epoch) => json!({"channelId": id, "afterSeq": place.seq, "epoch": epoch}),
                None => json!({"channelId": id, "afterSeq": place.seq}),
            })
            .collect();
        wishes.chunks(CHANNELS_PER_FRAME).map(|some| json!({"type": "SUBSCRIBE", "channels": some})).collect()
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.random())
    }
}
