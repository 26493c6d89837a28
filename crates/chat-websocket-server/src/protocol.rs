//! The frames of WebSocket protocol version 1: JSON text, one object a frame. `docs/websocket.md` is the same for readers.

mod client;
mod close;
mod server;

pub use client::{ChannelRequest, ClientFrame, FrameError, Position, RequestId, id_of};
pub use close::CloseReason;
pub use server::{ErrorCode, ResetReason, ServerFrame, UnsubscribeReason};

/// The version that HELLO announces.
pub const VERSION: u32 = 1;
