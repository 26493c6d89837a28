//! The background task: connection after connection, until the owner leaves or the server refuses for good.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use url::Url;

use crate::{
    ClientConfig, HttpClient, Item, State, TokenSource,
    backoff::Backoff,
    client::{Command, Commands},
    connection::{self, Dial},
    item::UnsubscribeReason,
    subscriptions::Subscriptions,
};

/// Why a connection is over, or did not come about.
#[derive(Debug)]
pub(crate) enum Exit {
    /// The owner left.
    Ended,
    /// Come back later.
    Lost { code: Option<u16>, reason: String, after: Option<Duration> },
    /// Come back with another token.
    TokenRefused { code: u16, reason: String },
    /// Do not come back.
    Refused { code: u16, reason: String },
}

impl Exit {
    pub(crate) fn lost(reason: impl Into<String>) -> Self {
        Self::Lost { code: None, reason: reason.into(), after: None }
    }
}

/// Where items go.
pub(crate) struct Outbox {
    items: mpsc::Sender<Item>,
    end: CancellationToken,
}

impl Outbox {
    /// Waits for room: this is where a slow owner stops the reading.
    pub(crate) async fn put(&self, item: Item) -> Result<(), Exit> {
        tokio::select! {
            biased;
            () = self.end.cancelled() => Err(Exit::Ended),
            sent = self.items.send(item) => sent.map_err(|_| Exit::Ended),
        }
    }

    /// Waits until the owner has left.
    pub(crate) async fn ended(&self) {
        tokio::select! {
            () = self.end.cancelled() => {}
            () = self.items.closed() => {}
        }
    }
}

pub(crate) async fn run(
    config: ClientConfig,
    commands: Arc<Commands>,
    items: mpsc::Sender<Item>,
    end: CancellationToken,
) {
    let outbox = Outbox { items, end };
    let ClientConfig { urls, token, sign_in, connect_timeout, clock, history, .. } = config;
    let mut backoff = Backoff::new(config.backoff_first, config.backoff_most, config.jitter);
    let subscriptions = Subscriptions::new(config.answer_timeout, history.is_some());
    let mut driver = Driver { outbox, commands, subscriptions, token, history, refused: None };

    for url in urls.iter().cycle() {
        let started = Instant::now();
        let dial = Dial { url, sign_in, timeout: connect_timeout, clock: &*clock };
        let exit = driver.attempt(&dial).await.err().unwrap_or(Exit::Ended);
        driver.subscriptions.disconnected();

        let (code, reason, after) = match exit {
            Exit::Ended => return,
            Exit::Refused { code, reason } => return driver.close(code, reason).await,
            Exit::TokenRefused { code, reason } if !driver.token.renews() => return driver.close(code, reason).await,
            Exit::TokenRefused { code, reason } => (Some(code), reason, None),
            Exit::Lost { code, reason, after } => (code, reason, after),
        };
        debug!(client.code = code, client.reason = reason, "the connection is gone");
        let retry_in = backoff.after_failure(started.elapsed()).max(after.unwrap_or_default());
        if driver.wait(State::Offline { code, reason, retry_in }, retry_in).await.is_err() {
            return;
        }
    }
}

struct Driver {
    outbox: Outbox,
    commands: Arc<Commands>,
    subscriptions: Subscriptions,
    token: TokenSource,
    history: Option<HttpClient>,
    /// The token that the server refused last.
    refused: Option<Arc<str>>,
}

impl Driver {
    /// One connection, from the token to its end.
    async fn attempt(&mut self, dial: &Dial<'_>) -> Result<(), Exit> {
        self.outbox.put(Item::State(State::Connecting { url: without_query(dial.url) })).await?;
        let token = self.ask_for_token(dial.timeout).await?;
        let connected = tokio::select! {
            biased;
            () = self.outbox.ended() => Err(Exit::Ended),
            connected = connection::open(dial, &token) => connected,
        };
        let result = match connected {
            Err(exit) => Err(exit),
            Ok(connection) => connection.serve(self.session(dial, Arc::clone(&token))).await,
        };
        if let Err(Exit::TokenRefused { .. }) = &result {
            self.refused = Some(token);
        }
        result
    }

    fn session<'a>(&'a mut self, dial: &'a Dial<'_>, token: Arc<str>) -> connection::Session<'a> {
        connection::Session {
            outbox: &self.outbox,
            commands: &self.commands,
            subscriptions: &mut self.subscriptions,
            source: &self.token,
            history: self.history.as_ref(),
            token,
            clock: dial.clock,
        }
    }

    async fn ask_for_token(&self, bound: Duration) -> Result<Arc<str>, Exit> {
        let asked = tokio::select! {
            biased;
            () = self.outbox.ended() => return Err(Exit::Ended),
            asked = timeout(bound, self.token.token()) => asked,
        };
        let token = match asked {
            Ok(Ok(token)) => token,
            Ok(Err(error)) => return Err(Exit::lost(format!("no token: {error}"))),
            Err(_) => return Err(Exit::lost("no token in time")),
        };
        if self.refused.as_ref() == Some(&token) {
            return Err(Exit::Refused {
                code: connection::TOKEN_REFUSED,
                reason: "there is no other token".to_owned(),
            });
        }
        Ok(token)
    }

    /// Waits before the next try. Commands are taken meanwhile, so that an unsubscription is answered at once.
    async fn wait(&mut self, state: State, duration: Duration) -> Result<(), Exit> {
        let until = Instant::now() + duration;
        self.outbox.put(Item::State(state)).await?;
        loop {
            tokio::select! {
                biased;
                () = self.outbox.ended() => return Err(Exit::Ended),
                () = tokio::time::sleep_until(until) => return Ok(()),
                () = self.commands.changed() => {
                    take_commands(&self.commands, &mut self.subscriptions, &self.outbox).await?;
                }
            }
        }
    }

    async fn close(self, code: u16, reason: String) {
        // An owner that has left already does not need to know.
        let _ = self.outbox.put(Item::State(State::Closed { code, reason })).await;
    }
}

/// Does what the owner wants, and returns the channels that the server should be told to forget.
pub(crate) async fn take_commands(
    commands: &Commands,
    subscriptions: &mut Subscriptions,
    outbox: &Outbox,
) -> Result<Vec<chat_domain::ChannelId>, Exit> {
    let mut forgotten = Vec::new();
    for (channel_id, command) in commands.take() {
        match command {
            Command::Subscribe { from, presence } => {
                subscriptions.subscribe(channel_id, from);
                if presence {
                    subscriptions.watch(channel_id);
                }
            }
            Command::Unsubscribe if subscriptions.remove(channel_id) => {
                forgotten.push(channel_id);
                outbox.put(Item::Unsubscribed { channel_id, reason: UnsubscribeReason::Requested }).await?;
            }
            Command::Unsubscribe => {}
        }
    }
    Ok(forgotten)
}

/// For showing: a query may carry a token.
fn without_query(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    // Neither fails for a `ws` address with a host; if it did, the address would show no less than it does now.
    let _ = (shown.set_username(""), shown.set_password(None));
    shown.into()
}
