//! Takes what a connection receives and hands it to the owner.

use std::sync::Arc;

use bytes::Bytes;
use fred::types::{Message, Value};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    Topic,
    bus::{Delivery, Interruption, Sink},
};

pub(super) async fn run(mut messages: Receiver<Message>, sink: Arc<Sink>, stop: CancellationToken) {
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
