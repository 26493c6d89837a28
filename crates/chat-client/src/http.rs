//! Sending and asking over HTTP.

mod attempts;
mod config;
mod error;
mod messages;
mod pages;
mod waiting;

use std::sync::Arc;

use chat_domain::ChannelId;
use reqwest::Method;

use self::{attempts::Attempts, waiting::Waiting};
pub use self::{
    config::HttpConfig,
    error::HttpError,
    messages::{OutgoingMessage, StoredMessage},
    pages::{EventPage, HistoryPage, HistoryPlace},
};

/// The HTTP API: sends messages, each stored once however often it has to be sent, and reads history. Clones share
/// everything.
#[derive(Clone, Debug)]
pub struct HttpClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    attempts: Attempts,
    waiting: Waiting,
}

impl HttpClient {
    /// A client of this configuration. It opens connections when it needs them.
    ///
    /// # Errors
    /// The HTTP client of this machine cannot be set up.
    pub fn new(config: HttpConfig) -> Result<Self, HttpError> {
        let waiting = Waiting::new(config.waiting_sends);
        Ok(Self(Arc::new(Inner { attempts: Attempts::new(config)?, waiting })))
    }

    /// Sends a message and answers it as it is stored. It is tried again, with the same `client_message_id`, until the
    /// server has answered or [`HttpConfig::attempts`] are used up, so it is stored once.
    ///
    /// Messages of one channel are sent one after the other, in the order in which their futures were polled first. A
    /// future that is dropped gives up its place; whether its message was stored is then unknown.
    ///
    /// # Errors
    /// The server refused the message, or did not answer. After the latter it may be stored all the same: sending it again
    /// with the same `client_message_id` finds out.
    pub async fn send(
        &self,
        channel_id: ChannelId,
        message: impl Into<OutgoingMessage> + Send,
    ) -> Result<StoredMessage, HttpError> {
        let body = message.into().to_json(channel_id)?;
        let _turn = self.0.waiting.turn(channel_id).await?;
        let answer = self.0.attempts.request(Method::POST, &["messages"], &[], Some(body)).await?;
        messages::stored(&answer)
    }

    /// A page of a channel's messages, oldest first.
    ///
    /// # Errors
    /// The server refused, or did not answer.
    pub async fn history(
        &self,
        channel_id: ChannelId,
        place: HistoryPlace<'_>,
        limit: u32,
    ) -> Result<HistoryPage, HttpError> {
        let (limit, mut query) = (limit.to_string(), Vec::with_capacity(2));
        query.push(("limit", limit.as_str()));
        query.extend(place.parameter());
        let path = ["channels", &channel_id.to_string(), "messages"];
        pages::history(&self.0.attempts.request(Method::GET, &path, &query, None).await?)
    }

    /// A page of a channel's log: the events after `after_seq`, in order, at most `limit` (200 is the most).
    ///
    /// # Errors
    /// The server refused, or did not answer.
    pub async fn events(&self, channel_id: ChannelId, after_seq: u64, limit: u32) -> Result<EventPage, HttpError> {
        let (after_seq, limit) = (after_seq.to_string(), limit.to_string());
        let query = [("afterSeq", after_seq.as_str()), ("limit", limit.as_str())];
        let path = ["channels", &channel_id.to_string(), "events"];
        pages::events(&self.0.attempts.request(Method::GET, &path, &query, None).await?)
    }
}
