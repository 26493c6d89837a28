//! Messages on their way out, and as they are stored.

use chat_domain::{ChannelId, MessageId, MessageType};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::HttpError;
use crate::MessageView;

/// A message to be sent. A text is one by itself: `client.send(channel, "hello")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// What kind it is.
    pub message_type: MessageType,
    /// The content; its form depends on the type.
    pub payload: serde_json::Value,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// The sender's own id for it, 1 to 100 printable ASCII characters, unique per sender for ever. Without one, a random
    /// one is made. Give one that was kept to make a send safe across restarts of the sender.
    pub client_message_id: Option<String>,
}

impl OutgoingMessage {
    /// A message of this type, which answers no other.
    pub const fn new(message_type: MessageType, payload: serde_json::Value) -> Self {
        Self { message_type, payload, reply_to: None, client_message_id: None }
    }

    /// The body of the request. It is made once: all attempts send the same.
    pub(super) fn to_json(&self, channel_id: ChannelId) -> Result<Vec<u8>, HttpError> {
        let id = self.client_message_id.clone().unwrap_or_else(new_client_message_id);
        let Self { message_type, payload, reply_to, .. } = self;
        let wire =
            Wire { channel_id, message_type: *message_type, payload, client_message_id: &id, reply_to: *reply_to };
        serde_json::to_vec(&wire).map_err(|error| HttpError::BadRequest(error.to_string()))
    }
}

impl From<&str> for OutgoingMessage {
    fn from(text: &str) -> Self {
        Self::new(MessageType::Text, json!({ "text": text }))
    }
}

impl From<String> for OutgoingMessage {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

fn new_client_message_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    channel_id: ChannelId,
    message_type: MessageType,
    payload: &'a serde_json::Value,
    client_message_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<MessageId>,
}

/// A message with its place in the log.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredMessage {
    /// Where.
    pub channel_id: ChannelId,
    /// `seq` of its event.
    pub seq: u64,
    /// The message.
    #[serde(flatten)]
    pub message: MessageView,
}

pub(super) fn stored(answer: &[u8]) -> Result<StoredMessage, HttpError> {
    serde_json::from_slice(answer).map_err(|error| HttpError::BadAnswer(error.to_string()))
}
