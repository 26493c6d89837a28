//! What was seen from outside: what HTTP acknowledged and what each listener received. Nothing else is known to the checker.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

/// A moment: microseconds since the start of the act.
pub(crate) type Micros = u64;

/// The one clock of an act.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActClock(Instant);

impl ActClock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Micros {
        micros(self.0.elapsed())
    }

    pub(crate) fn at(self, moment: Duration) -> Instant {
        self.0 + moment
    }
}

pub(crate) fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

/// A send that was answered with 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Acknowledged {
    /// Index of the channel.
    pub(crate) channel: usize,
    pub(crate) seq: u64,
    pub(crate) message_id: Uuid,
    /// The sender's own id, the same in each attempt.
    pub(crate) client_message_id: Uuid,
    /// When the first attempt began.
    pub(crate) started: Micros,
    /// When the answer came.
    pub(crate) at: Micros,
    pub(crate) attempts: u32,
}

/// An event that a listener received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Receipt {
    /// Index of the channel.
    pub(crate) channel: usize,
    pub(crate) seq: u64,
    /// The ids of the message, if the event is one.
    pub(crate) message: Option<MessageIds>,
    pub(crate) at: Micros,
    /// Which of the listener's connections brought it, counted from 1.
    pub(crate) connection: u32,
}

/// What tells a message from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct MessageIds {
    pub(crate) message_id: Uuid,
    pub(crate) client_message_id: Uuid,
}

/// Everything that one listener received, in the order in which it did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    pub(crate) listener: String,
    /// The channels it listens to, from their beginning.
    pub(crate) channels: Vec<usize>,
    pub(crate) receipts: Vec<Receipt>,
    /// It was away by its own will: how late it received something says nothing about the servers.
    pub(crate) takes_breaks: bool,
    pub(crate) connections: u32,
    /// Answers that nothing in this load may lead to, such as RESET.
    pub(crate) complaints: Vec<String>,
}

/// Everything that was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Sends that needed more than one attempt.
    pub(crate) retried: usize,
    /// Acknowledged messages that were sent again on purpose.
    pub(crate) repeated: usize,
    pub(crate) complaints: Vec<String>,
}

/// Writes one JSON line for each item.
pub(crate) fn write_lines<T: Serialize>(path: &Path, items: &[T]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for item in items {
        serde_json::to_writer(&mut file, item)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
