//! Keeps the subscriptions of one connection equal to the interests, whatever becomes of the connection.

use std::{sync::Arc, time::Duration};

use fred::{
    error::Error,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::config::Server,
};
use futures_util::future::try_join_all;
use tokio::{
    sync::broadcast::Receiver,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    access::{Access, Connection},
    metrics::Instruments,
    status::{Part, Status},
};
use crate::{
    Topic,
    bus::interest::{Interests, LinkId},
};

/// How often the connection is asked whether it lives. Pub/sub alone is silent: a server that hangs looks like a quiet one.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Most topics in one SUBSCRIBE, or in as many SSUBSCRIBE one behind the other: a call that is large, and yet leaves room
/// for the payloads between two of them.
const TOPICS_PER_CALL: usize = 1_000;

/// How many topics of a Cluster's node are subscribed again with each heartbeat, one share after the other: a slot that goes
/// and comes back between two looks at the topology takes its subscriptions along. Redis tells so, the client does not.
const TOPICS_PER_BEAT: usize = 250;

/// Why a link that is well does not hear every topic.
pub(super) const MOVED: &str = "topics moved to another server";

pub(super) struct Keeper {
    link: LinkId,
    connection: Connection,
    /// Does it take SSUBSCRIBE, as a node of a Cluster does?
    sharded: bool,
    interests: Arc<Interests>,
    status: Arc<Status>,
    pinging: Instruments,
    timeout: Duration,
    reconnected: Receiver<Server>,
    errors: Receiver<(Error, Option<Server>)>,
    /// Is every topic of this link heard? At first not.
    hearing: bool,
    /// Topics that are still to be subscribed again in this round.
    round: Vec<Topic>,
}

impl Keeper {
    pub(super) fn new(
        link: LinkId,
        connection: Connection,
        interests: Arc<Interests>,
        status: Arc<Status>,
        pinging: Instruments,
        access: &Access,
    ) -> Self {
        let (reconnected, errors) = (connection.client.reconnect_rx(), connection.client.error_rx());
        let (sharded, timeout) = (access.is_cluster(), access.command_timeout);
        let (hearing, round) = (false, Vec::new());
        Self { link, connection, sharded, interests, status, pinging, timeout, reconnected, errors, hearing, round }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep()).await;
        self.connection.close().await;
    }

    async fn keep(&mut self) {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Of these receivers only the fact that something came matters, so a lag is as good as a value.
            tokio::select! {
                _ = self.reconnected.recv() => self.restore().await,
                _ = self.errors.recv() => self.beat().await,
                _ = heartbeat.tick() => self.beat().await,
                () = self.interests.changed(self.link) => self.follow().await,
            }
        }
    }

    /// Subscribes everything again on a new connection.
    async fn restore(&mut self) {
        self.lose("the connection was replaced");
        // What was told before this is mended by it.
        self.reconnected = self.reconnected.resubscribe();
        self.errors = self.errors.resubscribe();
        self.interests.with(|table| table.set_all_unheard(self.link));
        self.settle().await;
    }

    async fn beat(&mut self) {
        if !self.connection.client.is_connected() {
            self.lose("not connected");
            return;
        }
        let share = self.next_share();
        // The PING goes out behind the share, and takes the error if one of its topics has moved.
        let (subscribed, answer) = tokio::join!(self.subscribe(&share), self.ping());
        match (subscribed.map_err(|error| error.to_string()).and(answer), self.hearing) {
            (Ok(()), true) => {}
            (Ok(()), false) => self.restore().await,
            (Err(reason), _) => self.lose(&reason),
        }
    }

    /// Brings the subscriptions in line with the interests. While nothing is heard, [`Self::restore`] will do that.
    async fn follow(&mut self) {
        self.interests.with(|table| table.expire(Instant::now()));
        if self.hearing {
            self.settle().await;
        }
    }

    async fn settle(&mut self) {
        if self.interests.with(|table| table.take_moved(self.link)) {
            self.hearing = false;
            // Said already, and maybe taken back by a batch that was under way: what was rerouted after it is not in it.
            self.status.lost(Part::Link(self.link), MOVED);
        }
        if let Err(reason) = self.bring_in_line().await {
            warn!(bus.reason = reason, "subscribing failed, trying again");
            self.lose(&reason);
            return;
        }
        if !self.hearing {
            self.hearing = true;
            self.status.settled(Part::Link(self.link));
        }
    }

    fn lose(&mut self, reason: &str) {
        if std::mem::take(&mut self.hearing) {
            self.interests.with(|table| table.set_all_unheard(self.link));
        }
        self.status.lost(Part::Link(self.link), reason);
    }

    async fn bring_in_line(&self) -> Result<(), String> {
        let (expired, pending) =
            self.interests.with(|table| (table.take_expired(self.link), table.take_pending(self.link)));
        for topics in expired.chunks(TOPICS_PER_CALL) {
            self.unsubscribe(topics).await.map_err(|error| error.to_string())?;
        }
        for topics in pending.chunks(TOPICS_PER_CALL) {
            self.subscribe(topics).await.map_err(|error| error.to_string())?;
            // SUBSCRIBE returns before Redis has done it. Replies come in order, so the PING behind it is a fence.
            self.ping().await?;
            self.interests.with(|table| table.set_heard(self.link, topics));
        }
        Ok(())
    }

    /// The topics to subscribe again with this heartbeat.
    fn next_share(&mut self) -> Vec<Topic> {
        if !self.sharded || !self.hearing {
            return Vec::new();
        }
        if self.round.is_empty() {
            self.round = self.interests.with(|table| table.heard_on(self.link));
        }
        let rest = self.round.len().saturating_sub(TOPICS_PER_BEAT);
        let mut share = self.round.split_off(rest);
        self.interests.with(|table| share.retain(|topic| table.is_heard_on(self.link, *topic)));
        share
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<(), Error> {
        if topics.is_empty() {
            return Ok(());
        }
        if !self.sharded {
            return self.connection.client.subscribe(names(topics)).await;
        }
        // Topics of several slots in one call are refused, so there is one call for each, and they go out together.
        let calls = names(topics).into_iter().map(|name| self.connection.client.ssubscribe(name));
        try_join_all(calls).await.map(drop)
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), Error> {
        if !self.sharded {
            return self.connection.client.unsubscribe(names(topics)).await;
        }
        let calls = names(topics).into_iter().map(|name| self.connection.client.sunsubscribe(name));
        try_join_all(calls).await.map(drop)
    }

    async fn ping(&self) -> Result<(), String> {
        let ping = async {
            match tokio::time::timeout(self.timeout, self.connection.client.ping::<()>(None)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err("no answer to PING".into()),
            }
        };
        self.pinging.measured(ping).await
    }
}

fn names(topics: &[Topic]) -> Vec<String> {
    topics.iter().map(Topic::to_string).collect()
}
