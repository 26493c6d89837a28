//! Who sends: a steady load whose every message is tried again, under the same id, until it is acknowledged.

use std::time::Duration;

use chat_client::{HttpClient, HttpConfig, OutgoingMessage, TokenSource};
use chat_domain::ChannelId;
use chat_test_support::http_api::{Answer, HttpApi};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::history::{Acknowledged, ActClock, Sent};

/// An answer that takes longer counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two attempts, at most.
const BACKOFF: Duration = Duration::from_millis(300);
/// Attempts of one message: more than there is time for.
const ATTEMPTS: u32 = 10_000;
/// Messages of one sender that wait for their acknowledgement at once. At the bound the sender waits.
const IN_FLIGHT: usize = 256;
/// So many acknowledged messages in a hundred are sent again: the answer has to be the same.
const REPEATED_PERCENT: u32 = 5;

/// Who sends what where.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// One for each message server.
    pub(crate) servers: Vec<HttpApi>,
    /// Sends through the supplied client, which has its own way to try again, instead of by bare requests.
    pub(crate) supplied: Option<HttpClient>,
    pub(crate) channels: Vec<ChannelId>,
    /// Between two messages.
    pub(crate) interval: Duration,
    pub(crate) seed: u64,
    pub(crate) clock: ActClock,
}

impl Sender {
    /// Sends until `stop`, and then until everything is acknowledged, or until `give_up`.
    pub(crate) async fn run(self, stop: CancellationToken, give_up: CancellationToken) -> Sent {
        let mut random = StdRng::seed_from_u64(self.seed);
        let (mut sent, mut in_flight) = (Sent::default(), JoinSet::new());
        // Senders that began together would stay together.
        let mut next = Instant::now() + self.interval.mul_f64(random.random());
        while stop.run_until_cancelled(tokio::time::sleep_until(next)).await.is_some() {
            next += self.interval;
            let channel = random.random_range(0..self.channels.len());
            let message = Message {
                sender: self.clone(),
                channel,
                client_message_id: Uuid::from_u128(random.random()),
                random: StdRng::seed_from_u64(random.random()),
            };
            in_flight.spawn(message.send());
            while in_flight.len() >= IN_FLIGHT
                && let Some(Some(done)) = stop.run_until_cancelled(in_flight.join_next()).await
            {
                note(&mut sent, done);
            }
        }
        while let Some(Some(done)) = give_up.run_until_cancelled(in_flight.join_next()).await {
            note(&mut sent, done);
        }
        if !in_flight.is_empty() {
            sent.complaints.push(format!("{} sends were not acknowledged in time", in_flight.len()));
        }
        sent
    }
}

/// The supplied client, as patient as the bare senders.
pub(crate) fn supplied(server: &str, token: &str) -> HttpClient {
    let mut config =
        HttpConfig::new(server, TokenSource::fixed(token)).expect("the address of a message server is one");
    config.attempt_timeout = ANSWER_TIMEOUT;
    config.attempts = ATTEMPTS;
    config.backoff_first = BACKOFF;
    config.backoff_most = BACKOFF;
    config.waiting_sends = 2 * IN_FLIGHT;
    HttpClient::new(config).expect("this machine has an HTTP client")
}

type Done = Result<(Acknowledged, bool), String>;

fn note(sent: &mut Sent, done: Result<Done, tokio::task::JoinError>) {
    match done.map_err(|error| error.to_string()).and_then(|done| done) {
        Ok((acknowledged, repeated)) => {
            sent.retried += usize::from(acknowledged.attempts > 1);
            sent.repeated += usize::from(repeated);
            sent.acknowledged.push(acknowledged);
        }
        Err(complaint) => sent.complaints.push(complaint),
    }
}

struct Message {
    sender: Sender,
    channel: usize,
    client_message_id: Uuid,
    random: StdRng,
}

impl Message {
    async fn send(mut self) -> Done {
        let started = self.sender.clock.now();
        if let Some(client) = self.sender.supplied.take() {
            return Ok((self.send_through_client(&client, started).await?, false));
        }
        let (acknowledged, server) = self.until_acknowledged(started).await?;
        let repeats = self.random.random_range(0..100) < REPEATED_PERCENT;
        let repeated = repeats && self.repeat(&acknowledged, server).await?;
        Ok((acknowledged, repeated))
    }

    async fn send_through_client(&self, client: &HttpClient, started: u64) -> Result<Acknowledged, String> {
        let (channel, client_message_id) = (self.channel, self.client_message_id);
        let mut message = OutgoingMessage::from(client_message_id.to_string());
        message.client_message_id = Some(client_message_id.to_string());
        let stored = client.send(self.sender.channels[channel], message).await.map_err(|error| error.to_string())?;
        let (at, message_id) = (self.sender.clock.now(), stored.message.message_id.as_uuid());
        Ok(Acknowledged { channel, seq: stored.seq, message_id, client_message_id, started, at, attempts: 1 })
    }

    async fn until_acknowledged(&mut self, started: u64) -> Result<(Acknowledged, usize), String> {
        let mut server = self.random.random_range(0..self.sender.servers.len());
        for attempts in 1..=ATTEMPTS {
            if let Some(answer) = self.attempt(server).await? {
                let at = self.sender.clock.now();
                let (message_id, seq) = ids(&answer)?;
                let (channel, client_message_id) = (self.channel, self.client_message_id);
                return Ok((
                    Acknowledged { channel, seq, message_id, client_message_id, started, at, attempts },
                    server,
                ));
            }
            server = (server + 1) % self.sender.servers.len();
            sleep(BACKOFF.mul_f64(self.random.random())).await;
        }
        Err(format!("{} was not acknowledged in {ATTEMPTS} attempts", self.client_message_id))
    }

    /// `None` if it has to be tried again. A refusal is an error.
    async fn attempt(&self, server: usize) -> Result<Option<Answer>, String> {
        let id = self.client_message_id.to_string();
        let send = self.sender.servers[server].try_send(self.sender.channels[self.channel], &id, &id);
        let Ok(Ok(answer)) = timeout(ANSWER_TIMEOUT, send).await else { return Ok(None) };
        match answer.status.as_u16() {
            200 | 201 => Ok(Some(answer)),
            408 | 429 | 500.. => Ok(None),
            status => Err(format!("{id} was refused with {status}: {}", answer.body)),
        }
    }

    /// Sends it once more, to the next server: the answer has to be the original message. False if there was no answer.
    async fn repeat(&self, original: &Acknowledged, server: usize) -> Result<bool, String> {
        let Some(answer) = self.attempt((server + 1) % self.sender.servers.len()).await? else { return Ok(false) };
        if answer.status == 200 && ids(&answer)? == (original.message_id, original.seq) {
            return Ok(true);
        }
        Err(format!("a repeat of {original:?} was answered with {}: {}", answer.status, answer.body))
    }
}

fn ids(answer: &Answer) -> Result<(Uuid, u64), String> {
    let message_id = answer.body["messageId"].as_str().and_then(|id| id.parse().ok());
    message_id.zip(answer.body["seq"].as_u64()).ok_or_else(|| format!("no message in the answer {}", answer.body))
}
