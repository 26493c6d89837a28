//! Commands on keys, for who keeps something in Redis beside the topics.

use std::sync::Arc;

use fred::types::Value;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{RedisConfig, access::Access, line::Use, metrics::Metrics, not_connected, routes::Routes};
use crate::bus::BusError;

/// Most commands in one pipeline: what is published has to wait while a server is at one, for some milliseconds.
const PIPELINE: usize = 2_000;

/// What a command is answered.
pub type Reply = Value;

/// A command about one key.
#[derive(Clone, Debug)]
pub struct Command {
    pub(super) name: &'static str,
    pub(super) key: String,
    /// All that follows the name, the key included.
    pub(super) arguments: Vec<Value>,
}

impl Command {
    /// A command whose first argument is its key.
    pub fn new(name: &'static str, key: impl Into<String>) -> Self {
        let key = key.into();
        Self { name, arguments: vec![key.clone().into()], key }
    }

    /// A Lua script about one key, which is `KEYS[1]` there. The script is sent each time, so that no server has to know
    /// it from before.
    pub fn script(source: &'static str, key: impl Into<String>) -> Self {
        let key = key.into();
        Self { name: "EVAL", arguments: vec![Value::from_static_str(source), 1.into(), key.clone().into()], key }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<Value>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item: Into<Value>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }
}

/// Keys in Redis: on one server, on the master that Sentinels name, or each on the node of a Cluster that has its slot.
/// The connections are other ones than those of the bus, so that neither waits for the other.
pub struct RedisKeys {
    routes: Arc<Routes>,
}

impl RedisKeys {
    /// Connects in the background, again whenever a connection is lost. It follows the servers as long as the returned
    /// future is polled, until `stop`; after that it uses the connections that it has.
    pub fn connect(
        config: &RedisConfig,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), BusError> {
        let routes = Routes::new(Arc::new(Access::new(config)?), Use::Keys, metrics);
        let follow = Arc::clone(&routes).follow();
        let run = async move {
            stop.run_until_cancelled(follow).await;
        };
        Ok((Self { routes }, run))
    }

    /// Sends the commands in one pipeline for each server, in the given order, and returns what each is answered. An error
    /// means that it is not known whether the command was carried out, or that Redis refused it. Where a server is away,
    /// or still owes an answer, its commands are refused at once.
    pub async fn execute(&self, mut commands: Vec<Command>) -> Vec<Result<Reply, BusError>> {
        let mut replies = Vec::with_capacity(commands.len());
        while !commands.is_empty() {
            let rest = commands.split_off(commands.len().min(PIPELINE));
            replies.append(&mut self.execute_pipeline(commands).await);
            commands = rest;
        }
        replies
    }

    async fn execute_pipeline(&self, commands: Vec<Command>) -> Vec<Result<Reply, BusError>> {
        let mut replies: Vec<_> = commands.iter().map(|_| Err(not_connected())).collect();
        let numbered = commands.into_iter().enumerate().collect();
        let (groups, _) = self.routes.by_line(numbered, |(_, command): &(usize, Command)| command.key.clone());
        let answers = groups.into_iter().map(async |(line, group)| {
            let (places, commands): (Vec<_>, Vec<_>) = group.into_iter().unzip();
            (places, line.execute(commands).await)
        });
        for (places, answers) in join_all(answers).await {
            match answers {
                Ok(answers) => places.into_iter().zip(answers).for_each(|(place, answer)| replies[place] = answer),
                Err(reason) => {
                    let reason = reason.to_string();
                    places.into_iter().for_each(|place| replies[place] = Err(BusError::Unavailable(reason.clone())));
                }
            }
        }
        replies
    }

    /// Was a connection made anew, or has another server taken over, since this was asked last? Then keys may be gone that
    /// were written before.
    pub fn take_interrupted(&self) -> bool {
        self.routes.take_changed()
    }

    /// Sends what is under way and gives the connections back.
    pub async fn close(&self) {
        join_all(self.routes.lines().iter().map(|line| line.close())).await;
    }
}
