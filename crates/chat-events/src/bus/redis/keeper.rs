//! Keeps the subscriptions of a connection equal to the interests, whatever becomes of the connection.

use std::{sync::Arc, time::Duration};

use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::config::Server,
};
use tokio::{
    sync::broadcast::Receiver,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Topic,
    bus::{Delivery, Interruption, Sink, interest::Interests},
};

/// How often the connection is asked whether it lives. Pub/sub alone is silent: a server that hangs looks like a quiet one.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Most topics in one SUBSCRIBE: a call that is large, and yet leaves room for the payloads between two of them.
const TOPICS_PER_CALL: usize = 1_000;

pub(super) struct Keeper {
    client: Client,
    interests: Arc<Interests>,
    sink: Arc<Sink>,
    timeout: Duration,
    reconnected: Receiver<Server>,
    errors: Receiver<(Error, Option<Server>)>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Every topic of interest is heard.
    Hearing,
    /// Nothing is heard, or not all. So it begins.
    Lost,
}

impl Keeper {
    pub(super) fn new(client: Client, interests: Arc<Interests>, sink: Arc<Sink>, timeout: Duration) -> Self {
        let (reconnected, errors) = (client.reconnect_rx(), client.error_rx());
        Self { client, interests, sink, timeout, reconnected, errors, state: State::Lost }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Of these receivers only the fact that something came matters, so a lag is as good as a value.
            tokio::select! {
                () = stop.cancelled() => break,
                _ = self.reconnected.recv() => self.restore().await,
                _ = self.errors.recv() => self.beat().await,
                _ = heartbeat.tick() => self.beat().await,
                () = self.interests.changed() => self.follow().await,
            }
        }
        // An error means that there is no connection to close.
        let _ = self.client.quit().await;
    }

    /// Subscribes everything again on a new connection.
    async fn restore(&mut self) {
        self.lose("the connection was replaced");
        // What was told before this is mended by it.
        self.reconnected = self.reconnected.resubscribe();
        self.errors = self.errors.resubscribe();
        self.interests.with(|table| table.set_all_unheard());
        if let Err(reason) = self.subscribe_pending().await {
            warn!(bus.reason = reason, "subscribing failed, trying again");
            return;
        }
        self.state = State::Hearing;
        info!("subscriptions restored");
        (self.sink)(Delivery::Interrupted(Interruption::Restored));
    }

    fn lose(&mut self, reason: &str) {
        if self.state != State::Hearing {
            return;
        }
        self.state = State::Lost;
        warn!(bus.reason = reason, "subscriptions lost");
        self.interests.with(|table| table.set_all_unheard());
        (self.sink)(Delivery::Interrupted(Interruption::Lost));
    }

    async fn beat(&mut self) {
        if !self.client.is_connected() {
            self.lose("not connected");
            return;
        }
        match (self.ping().await, self.state) {
            (Ok(()), State::Hearing) => {}
            (Ok(()), State::Lost) => self.restore().await,
            (Err(reason), _) => self.lose(&reason),
        }
    }

    /// Brings the subscriptions in line with the interests. While nothing is heard, [`Self::restore`] will do that.
    async fn follow(&mut self) {
        let expired = self.interests.with(|table| table.expire(Instant::now()));
        if self.state != State::Hearing {
            return;
        }
        for topics in expired.chunks(TOPICS_PER_CALL) {
            // What stays subscribed by an error is heard in vain until the next reconnection, no more.
            let _ = self.client.unsubscribe(names(topics)).await;
        }
        if let Err(reason) = self.subscribe_pending().await {
            self.lose(&reason);
        }
    }

    async fn subscribe_pending(&self) -> Result<(), String> {
        let pending = self.interests.with(|table| table.take_pending());
        for topics in pending.chunks(TOPICS_PER_CALL) {
            self.client.subscribe(names(topics)).await.map_err(|error| error.to_string())?;
            // SUBSCRIBE returns before Redis has done it. Replies come in order, so the PING behind it is a fence.
            self.ping().await?;
            self.interests.with(|table| table.set_heard(topics));
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), String> {
        match tokio::time::timeout(self.timeout, self.client.ping::<()>(None)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer to PING".into()),
        }
    }
}

fn names(topics: &[Topic]) -> Vec<String> {
    topics.iter().map(Topic::to_string).collect()
}
