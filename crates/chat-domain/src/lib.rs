//! Aggregates, value objects, rules and ports of the chat platform. No I/O, no async runtime.
//!
//! - [`message`], [`channel`], [`user`]: the aggregates and the rules each can check alone.
//! - [`ledger`]: what one command does to the state of a channel, including its next sequence number.
//! - [`ports`]: what the servers ask of durable storage.
//! - [`refusal`]: every "no" a rule can say, with its stable code.
//! - [`id`], [`time`]: value objects; the clock is passed in.

pub mod channel;
pub mod id;
pub mod ledger;
pub mod limits;
pub mod message;
pub mod named;
pub mod ports;
pub mod refusal;
pub mod time;
pub mod user;

pub use channel::{Channel, ChannelDetails, ChannelType, Epoch, Member, MemberRole};
pub use id::{ChannelId, EventId, MessageId, UserId};
pub use ledger::{Applied, Change, Command, Ledger, Subject};
pub use message::{ClientMessageId, Message, MessageContent, MessageStatus, MessageType};
pub use refusal::{Refusal, Violation};
pub use time::{Clock, SystemClock, Timestamp};
pub use user::{Actor, User, UserStatus};
