//! A message, with the fields of the event that sessions receive.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use chat_domain::{
    ChannelId, ClientMessageId, Message, MessageContent, MessageId, MessageStatus, MessageType, Timestamp, UserId,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{error::ApiError, schema};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// One message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
pub(crate) struct MessageView {
    #[schema(value_type = Uuid)]
    message_id: MessageId,
    #[schema(value_type = Uuid)]
    channel_id: ChannelId,
    /// Its place in the channel's log.
    seq: u64,
    #[schema(value_type = Uuid)]
    sender_id: UserId,
    #[schema(schema_with = schema::message_type)]
    message_type: MessageType,
    /// The text, or the file name.
    content: String,
    #[schema(schema_with = schema::message_status)]
    status: MessageStatus,
    #[schema(value_type = String, format = DateTime)]
    sent_at: Timestamp,
    /// The sender's own id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    client_message_id: Option<ClientMessageId>,
    #[schema(schema_with = schema::payload)]
    payload: MessageContent,
    /// The message that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>, nullable = false)]
    reply_to: Option<MessageId>,
}

impl IntoResponse for MessageView {
    /// As [`axum::Json`] would, but with room for all of it from the start.
    fn into_response(self) -> Response {
        const BESIDE_CONTENT: usize = 512;
        let mut json = Vec::with_capacity(BESIDE_CONTENT + 2 * self.content.len());
        match serde_json::to_writer(&mut json, &self) {
            Ok(()) => ([(header::CONTENT_TYPE, JSON)], json).into_response(),
            Err(_) => ApiError::Internal.into_response(),
        }
    }
}

impl From<Message> for MessageView {
    fn from(message: Message) -> Self {
        Self {
            message_id: message.id,
            channel_id: message.channel_id,
            seq: message.seq,
            sender_id: message.sender_id,
            message_type: message.content.message_type(),
            content: message.content.summary().to_owned(),
            status: message.status,
            sent_at: message.sent_at,
            client_message_id: message.client_message_id,
            payload: message.content,
            reply_to: message.reply_to,
        }
    }
}
