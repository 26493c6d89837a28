//! The Rust client of the chat platform: connect, resume, reconnect, typed events.
//!
//! ```no_run
//! # async fn example(token: String, channel: chat_domain::ChannelId) -> Result<(), chat_client::ConfigError> {
//! use chat_client::{Client, ClientConfig, Item, TokenSource};
//!
//! let config = ClientConfig::new(&["ws://127.0.0.1:20002/ws/chat"], TokenSource::fixed(token))?;
//! let (client, mut items) = Client::connect(config);
//! client.subscribe(channel, None);
//! while let Some(item) = items.recv().await {
//!     if let Item::Event(event) = item {
//!         println!("{} {}", event.seq, String::from_utf8_lossy(&event.body));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Client`] takes commands, [`Items`] gives what happened. One background task owns the socket; it ends when either
//!   of the two is dropped.
//! - [`ClientConfig`]: where to connect, with which token, how to come back.
//! - [`HttpClient`]: sends messages, each stored once, and reads history. Given to [`ClientConfig::history`], it loads what
//!   cannot be replayed.
//! - [`Item`]: what the owner sees. Each event of a subscribed channel comes once, in order and without a hole, across
//!   any number of connections; [`Item::Reset`] says when that is not possible.
//!
//! An owner that does not take its items makes the client stop reading: nothing is dropped and nothing grows. A server
//! that cannot wait that long closes the connection, and the client resumes.

mod backoff;
mod client;
mod config;
mod connection;
mod driver;
mod frame;
mod http;
mod item;
mod liveness;
mod subscriptions;

pub use client::{Client, Items};
pub use config::{ClientConfig, ConfigError, SignIn, TokenError, TokenSource};
pub use http::{
    EventPage, HistoryPage, HistoryPlace, HttpClient, HttpConfig, HttpError, OutgoingMessage, StoredMessage,
};
pub use item::{Event, Item, MessageView, ResetReason, State, UnsubscribeReason};
pub use subscriptions::Position;
