//! Fans room events out to WebSocket sessions.
//!
//! An event's way through an instance: the bus delivers a payload to the [`hub`]'s directory, which queues it for its
//! [`room`]; the room's task parses it once, puts it in order, and queues the shared bytes in the [`outbox`] of each local
//! session; all that waits there goes to the [`wire`] in one write, by the room if the [`session`]'s task has nothing to
//! write. What the bus does not bring is found by [`reconcile`] and read from the log; who may not listen any more, and was
//! not heard of, is found by [`standing`]. The [`registry`] shares with the other instances who is where.

pub mod app;
mod chatrooms;
pub mod config;
pub mod frame;
pub mod hub;
mod in_time;
pub mod inquiries;
pub mod metrics;
pub mod outbox;
pub mod pace;
pub mod protocol;
pub mod reader;
pub mod reconcile;
pub mod registry;
pub mod room;
pub mod session;
pub mod standing;
pub mod upgrade;
pub mod wire;
