//! A connection to send on, for which nobody waits long.

use std::time::Duration;

use fred::{
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface, HashesInterface, KeysInterface, PubsubInterface, SetsInterface},
    types::{CustomCommand, Value, config::Server},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, join},
};
use parking_lot::Mutex;
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

use super::{
    access::{Access, Connection},
    keys::{Command, Reply},
    metrics::{Instruments, Metrics},
    not_connected, unavailable,
};
use crate::bus::{BusError, Publication};

/// How long a node of a Cluster may keep the publications of the others waiting. With one server there are no others, and
/// what comes late is better than what has to be read from the log.
const PATIENCE: Duration = Duration::from_millis(250);

/// What lines are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Payloads to topics.
    Publishing,
    /// Commands on keys.
    Keys,
}

impl Use {
    /// The label in metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Publishing => "publish",
            Self::Keys => "registry",
        }
    }
}

/// What was sent together, and is under way.
type Answer<T> = BoxFuture<'static, Result<T, Error>>;

/// The connection to one server. While it owes an answer it takes nothing more, so that no pipelines pile up in it.
pub(super) struct Line {
    connection: Connection,
    sharded: bool,
    patience: Duration,
    sending: Instruments,
    pinging: Instruments,
    state: Mutex<State>,
    reconnected: Mutex<Receiver<Server>>,
}

enum State {
    Free,
    /// It did not answer in time, and may do so yet.
    Late(Answer<()>),
    /// It did not answer at all. The client would notice, but not while it waits for room to write.
    Dead,
}

impl Line {
    pub(super) fn open(access: &Access, server: &Server, for_use: Use, metrics: &Metrics) -> Result<Self, BusError> {
        let connection = access.sending(server)?;
        let reconnected = Mutex::new(connection.client.reconnect_rx());
        let sharded = access.is_cluster();
        let patience = if sharded && for_use == Use::Publishing { PATIENCE } else { access.command_timeout };
        let (sending, pinging) = (metrics.instruments(for_use.as_str()), metrics.instruments("ping"));
        Ok(Self { connection, sharded, patience, sending, pinging, state: Mutex::new(State::Free), reconnected })
    }

    /// Is it connected, and owes no answer?
    pub(super) fn is_free(&self) -> bool {
        matches!(*self.look(), State::Free) && self.connection.client.is_connected()
    }

    /// Is it to be replaced?
    pub(super) fn is_dead(&self) -> bool {
        matches!(*self.look(), State::Dead)
    }

    /// Was it connected anew since this was asked last?
    pub(super) fn take_reconnected(&self) -> bool {
        let mut reconnected = self.reconnected.lock();
        let mut any = false;
        loop {
            match reconnected.try_recv() {
                Ok(_) | Err(TryRecvError::Lagged(_)) => any = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return any,
            }
        }
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

    /// Publishes in the given order.
    pub(super) async fn publish(&self, batch: &[Publication]) -> Result<(), BusError> {
        let Some((last, others)) = batch.split_last() else { return Ok(()) };
        let published = async {
            let (client, sharded) = (self.connection.client.clone(), self.sharded);
            let pipeline = client.pipeline();
            for publication in others {
                publish(&pipeline, publication.clone(), sharded).await.map_err(|error| unavailable(&error))?;
            }
            let last = last.clone();
            // What the last one waits behind shares its write; see `carry_out`.
            let answer = async move {
                let answers = join(pipeline.all::<Vec<Value>>(), publish(&client, last, sharded));
                let (others, last) = answers.await;
                // The last one knows best whether the server still answers.
                last.and(others.map(drop))
            };
            self.answered(answer.boxed()).await
        };
        self.sending.measured(published).await
    }

    /// Sends commands in the given order, and returns what each is answered.
    pub(super) async fn execute(&self, mut commands: Vec<Command>) -> Result<Vec<Result<Reply, BusError>>, BusError> {
        let count = commands.len();
        let Some(last) = commands.pop() else { return Ok(Vec::new()) };
        let client = self.connection.client.clone();
        let pipeline = client.pipeline();
        for command in commands {
            carry_out(&pipeline, command).await.map_err(|error| unavailable(&error))?;
        }
        let answer = async move {
            let (mut answers, last) = join(pipeline.try_all::<Value>(), carry_out(&client, last)).await;
            answers.push(last);
            match answers.iter().position(|answer| answer.as_ref().is_err_and(is_no_reply)) {
                Some(place) => answers.swap_remove(place).map(|_| Vec::new()),
                None => Ok(answers),
            }
        };
        let answers = self.sending.measured(self.answered(answer.boxed())).await?;
        if answers.len() != count {
            return Err(BusError::Unavailable("some answers are missing".into()));
        }
        Ok(answers.into_iter().map(|answer| answer.map_err(|error| unavailable(&error))).collect())
    }

    /// Waits for an answer as long as the others may be kept waiting.
    async fn answered<T: Send + 'static>(&self, mut answer: Answer<T>) -> Result<T, BusError> {
        let Ok(outcome) = tokio::time::timeout(self.patience, &mut answer).await else {
            *self.state.lock() = State::Late(answer.map(|outcome| outcome.map(drop)).boxed());
            return Err(BusError::Unavailable("no answer in time".into()));
        };
        *self.state.lock() = State::after(&outcome);
        outcome.map_err(|error| unavailable(&error))
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

async fn publish<C: PubsubInterface + Sync>(
    client: &C,
    Publication { topic, payload }: Publication,
    sharded: bool,
) -> Result<(), Error> {
    let (topic, payload) = (topic.to_string(), Value::Bytes(payload));
    // As in a pipeline, where the answer comes later.
    let answer: Value = match sharded {
        true => client.spublish(topic, payload).await?,
        false => client.publish(topic, payload).await?,
    };
    drop(answer);
    Ok(())
}

/// Sends a command and waits for what it is answered, or puts it into a pipeline.
///
/// The library writes to the socket when nothing is queued behind a command, and so after each one of a pipeline that is
/// alone in the queue, and after each that it does not know by name. So the last command is kept out of the pipeline, and what
/// there is much of is given its name: then all go out together.
async fn carry_out<C>(client: &C, Command { name, key, mut arguments }: Command) -> Result<Reply, Error>
where
    C: HashesInterface + KeysInterface + SetsInterface + Sync,
{
    if name == "HSET"
        && let Some(fields) = fields(&arguments[1..])
    {
        return client.hset(key, fields).await;
    }
    if name == "EXPIRE"
        && let [_, seconds] = &*arguments
        && let Some(seconds) = seconds.as_i64()
    {
        return client.expire(key, seconds, None).await;
    }
    match name {
        "SADD" => client.sadd(key, arguments.split_off(1)).await,
        "SREM" => client.srem(key, arguments.split_off(1)).await,
        _ => client.custom(CustomCommand::new_static(name, None::<u16>, false), arguments).await,
    }
}

/// Pairs of a text and its value, if that is what it is. The library leaves out pairs without a value.
fn fields(arguments: &[Value]) -> Option<Vec<(String, Value)>> {
    let (pairs, []) = arguments.as_chunks() else { return None };
    if pairs.iter().any(|[_, value]| value.is_null()) {
        return None;
    }
    pairs.iter().map(|[field, value]| Some((field.as_string()?, value.clone()))).collect()
}

/// Does the error say that there was no reply, and not that the reply was an error?
fn is_no_reply(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Timeout | ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Routing | ErrorKind::Backpressure
    )
}

impl State {
    fn after<T>(outcome: &Result<T, Error>) -> Self {
        match outcome {
            Err(error) if *error.kind() == ErrorKind::Timeout => Self::Dead,
            Ok(_) | Err(_) => Self::Free,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_not_pairs_of_a_text_and_a_value_are_sent_as_they_are() {
        let text = Value::from_static_str;
        assert_eq!(fields(&[text("a"), 1.into(), text("b"), 2.into()]).map(|pairs| pairs.len()), Some(2));
        assert_eq!(fields(&[text("a"), 1.into(), text("b")]), None);
        assert_eq!(fields(&[text("a"), Value::Null]), None);
        assert_eq!(fields(&[Value::Null, 1.into()]), None);
    }
}
