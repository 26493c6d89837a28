use std::sync::Arc;

use bytes::Bytes;
use fred::{
    interfaces::{ClientLike, EventInterface},
    types::{Message, Value},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{RedisConfig, keeper::Keeper};
use crate::{
    Topic,
    bus::{BusError, Delivery, Interest, Interruption, Sink, Subscriber, interest::Interests},
};

/// The hearing side of the bus over Redis.
pub struct RedisSubscriber {
    interests: Arc<Interests>,
    client: fred::clients::Client,
}

impl RedisSubscriber {
    /// A subscriber that connects in the background. It lives as long as the returned future is polled, until `stop`.
    pub fn connect(
        config: &RedisConfig,
        sink: Sink,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), BusError> {
        let client = config
            .builder()?
            // What broke with the connection is subscribed again by the keeper, not by the client.
            .with_connection_config(|connection| connection.max_command_attempts = 1)
            .build()
            .map_err(|error| BusError::Address(error.details().to_owned()))?;
        let (interests, sink) = (Interests::new(config.linger), Arc::new(sink));
        let keeper = Keeper::new(client.clone(), Arc::clone(&interests), Arc::clone(&sink), config.command_timeout);
        let read = read(client.message_rx(), sink, stop.clone());
        let keep = keeper.run(stop);
        client.connect();
        let run = async {
            tokio::join!(read, keep);
        };
        Ok((Self { interests, client }, run))
    }

    /// Is there a connection?
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }
}

impl Subscriber for RedisSubscriber {
    fn interest(&self, topic: Topic) -> Interest {
        self.interests.add(topic)
    }
}

async fn read(mut messages: Receiver<Message>, sink: Arc<Sink>, stop: CancellationToken) {
    loop {
        let received = tokio::select! {
            received = messages.recv() => received,
            () = stop.cancelled() => return,
        };
        match received {
            Ok(message) => deliver(message, &sink),
            Err(RecvError::Lagged(lost)) => {
                warn!(bus.lost = lost, "receive buffer overran");
                sink(Delivery::Interrupted(Interruption::Overrun(lost)));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn deliver(message: Message, sink: &Sink) {
    let Some(topic) = Topic::parse(&message.channel) else {
        debug!(bus.topic = %message.channel, "payload of a foreign topic skipped");
        return;
    };
    let payload = match message.value {
        Value::String(text) => text.into_inner(),
        Value::Bytes(bytes) => bytes,
        other => Bytes::from(other.into_string().unwrap_or_default()),
    };
    sink(Delivery::Payload { topic, payload });
}
