//! A connection to publish on, for which nobody waits long.

use std::time::Duration;

use fred::{
    error::{Error, ErrorKind},
    interfaces::{ClientLike, PubsubInterface},
    types::{Value, config::Server},
};
use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;

use super::{
    access::{Access, Connection},
    metrics::{Command, Metrics},
    not_connected, unavailable,
};
use crate::bus::{BusError, Publication};

/// How long a node of a Cluster may keep the publications of the others waiting. With one server there are no others, and
/// what comes late is better than what has to be read from the log.
const PATIENCE: Duration = Duration::from_millis(250);

/// A pipeline under way.
type Answer = BoxFuture<'static, Result<(), Error>>;

/// The connection to one server. While it owes an answer it takes nothing more, so that no pipelines pile up in it.
pub(super) struct Line {
    connection: Connection,
    sharded: bool,
    patience: Duration,
    publishing: Command,
    pinging: Command,
    state: Mutex<State>,
}

enum State {
    Free,
    /// It did not answer in time, and may do so yet.
    Late(Answer),
    /// It did not answer at all. The client would notice, but not while it waits for room to write.
    Dead,
}

impl Line {
    pub(super) fn open(access: &Access, server: &Server, metrics: &Metrics) -> Result<Self, BusError> {
        let connection = access.publishing(server)?;
        let sharded = access.is_cluster();
        let patience = if sharded { PATIENCE } else { access.command_timeout };
        let (publishing, pinging) = (metrics.command("publish"), metrics.command("ping"));
        Ok(Self { connection, sharded, patience, publishing, pinging, state: Mutex::new(State::Free) })
    }

    /// Is it connected, and owes no answer?
    pub(super) fn is_free(&self) -> bool {
        matches!(*self.look(), State::Free) && self.connection.client.is_connected()
    }

    /// Is it to be replaced?
    pub(super) fn is_dead(&self) -> bool {
        matches!(*self.look(), State::Dead)
    }

    /// The state, after a look whether a late answer has come.
    fn look(&self) -> parking_lot::MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if let State::Late(answer) = &mut *state
            && let Some(outcome) = answer.now_or_never()
        {
            *state = State::after(&outcome);
        }
        state
    }

    /// Publishes in the given order, and waits for the answer as long as the others may be kept waiting.
    pub(super) async fn publish(&self, batch: &[Publication]) -> Result<(), BusError> {
        self.publishing.measured(self.publish_in_time(batch)).await
    }

    async fn publish_in_time(&self, batch: &[Publication]) -> Result<(), BusError> {
        let mut answer = self.send(batch).await.map_err(|error| unavailable(&error))?;
        let Ok(outcome) = tokio::time::timeout(self.patience, &mut answer).await else {
            *self.state.lock() = State::Late(answer);
            return Err(BusError::Unavailable("no answer in time".into()));
        };
        *self.state.lock() = State::after(&outcome);
        outcome.map_err(|error| unavailable(&error))
    }

    async fn send(&self, batch: &[Publication]) -> Result<Answer, Error> {
        let pipeline = self.connection.client.pipeline();
        for Publication { topic, payload } in batch {
            let (topic, payload) = (topic.to_string(), Value::Bytes(payload.clone()));
            match self.sharded {
                true => pipeline.spublish::<(), _, _>(topic, payload).await?,
                false => pipeline.publish::<(), _, _>(topic, payload).await?,
            }
        }
        Ok(async move { pipeline.all::<Vec<Value>>().await.map(drop) }.boxed())
    }

    /// Does the server answer?
    pub(super) async fn ping(&self) -> Result<(), BusError> {
        if !self.is_free() {
            return Err(not_connected());
        }
        self.pinging.measured(self.connection.client.ping::<()>(None)).await.map_err(|error| unavailable(&error))
    }

    pub(super) async fn close(&self) {
        self.connection.close().await;
    }
}

impl State {
    fn after(outcome: &Result<(), Error>) -> Self {
        match outcome {
            Err(error) if *error.kind() == ErrorKind::Timeout => Self::Dead,
            Ok(()) | Err(_) => Self::Free,
        }
    }
}
