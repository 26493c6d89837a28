//! Publishing and subscribing.
//!
//! Pub/sub is at-most-once: what is published may be lost, repeated or late. It is only a hint; the channel's log is the
//! truth. So a bus is never silent about a loss that it can see: it says [`Delivery::Interrupted`], and the owner
//! compares heads with the log.

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use crate::Topic;

mod echo;
mod interest;
pub mod memory;
pub mod redis;

pub use echo::Echo;
pub use interest::Interest;

/// The sending side of a bus.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes payloads in the given order, pipelined. An error means that some may not have gone out, and never that
    /// anything is lost: who missed them reads the log. Where the bus is away, or still owes an answer, it refuses at once,
    /// so a caller that publishes one batch after the other waits for it once.
    async fn publish(&self, batch: Vec<Publication>) -> Result<(), BusError>;

    /// Can the bus be reached?
    async fn ping(&self) -> Result<(), BusError>;

    /// Sends what is under way and gives the connection back.
    async fn close(&self);
}

/// The hearing side of a bus. What is heard goes to the [`Sink`] that the bus was made with.
pub trait Subscriber: Send + Sync {
    /// Declares an interest in a topic. The bus subscribes in the background, together with what else waits, again after
    /// each reconnection, and unsubscribes a linger after the last interest in the topic was dropped.
    fn interest(&self, topic: Topic) -> Interest;
}

/// A payload on its way out.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Where to.
    pub topic: Topic,
    /// What.
    pub payload: Bytes,
}

/// What a subscriber's owner is told. It is called on the task that reads from the bus: it must be quick and never block.
pub type Sink = Box<dyn Fn(Delivery) + Send + Sync>;

/// Something that reaches a subscriber's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A payload of a topic that there is, or was until lately, an interest in.
    Payload {
        /// Where from.
        topic: Topic,
        /// What. It may pin a larger read buffer: copy what is kept long.
        payload: Bytes,
    },
    /// Payloads may have been lost.
    Interrupted(Interruption),
}

/// How payloads may have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The connection is gone; nothing is heard until [`Interruption::Restored`].
    Lost,
    /// Every topic of interest is heard, for the first time or again. What was published before was not.
    Restored,
    /// The receive buffer overran: this many payloads were dropped.
    Overrun(u64),
}

/// Why the bus did not do what it was asked.
#[derive(Debug, Error)]
pub enum BusError {
    /// The configured address is none.
    #[error("{0}")]
    Address(String),
    /// The bus cannot be reached, or did not answer in time.
    #[error("the bus is unavailable: {0}")]
    Unavailable(String),
}
