//! Entries of a channel's log, as they are published, replayed and sent to clients: the same bytes all the way.

use bytes::Bytes;
use chat_domain::{
    Change, ChannelId, ClientMessageId, EventId, Message, MessageContent, MessageId, MessageStatus, MessageType,
    Timestamp, UserId, channel::MemberRole, ledger::Entry,
};
use serde::{Deserialize, Deserializer, Serialize, de::IntoDeserializer, de::value::StrDeserializer};
use serde_json::value::RawValue;

/// Room in bytes for most payloads, which otherwise move several times while they grow.
const USUAL_PAYLOAD: usize = 1_024;

/// An event of a channel. Field order is part of the golden files, not of the contract.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// Where.
    pub channel_id: ChannelId,
    /// Its place in the channel's log: 1, 2, 3, … without holes.
    pub seq: u64,
    /// Its own id.
    pub event_id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// The trace of the request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Where spans of what is done with it hang, as in W3C trace context; there only if that request is traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The rest, by type.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened to a channel, by name. `MESSAGE_UPDATED` and others may be added: a reader passes on what it does not
/// know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventType {
    /// A message was sent.
    Message,
    /// A user came in.
    MemberJoined,
    /// A user went.
    MemberLeft,
    /// Name or description changed.
    ChannelUpdated,
    /// The channel was deactivated.
    ChannelClosed,
}

/// The fields of an event beside its header.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum EventBody {
    /// A message was sent.
    Message(MessageBody),
    /// A user came in.
    MemberJoined(MemberJoinedBody),
    /// A user went.
    MemberLeft(MemberLeftBody),
    /// Name or description changed.
    ChannelUpdated(ChannelUpdatedBody),
    /// The channel was deactivated.
    ChannelClosed {},
}

/// Fields of `MESSAGE`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageBody {
    /// The message.
    pub message_id: MessageId,
    /// Who sent it.
    pub sender_id: UserId,
    /// What kind it is.
    pub message_type: MessageType,
    /// The text, or the file name.
    pub content: String,
    /// Where it is in its life.
    pub status: MessageStatus,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// The sender's own id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
    /// The content in full, by type.
    pub payload: MessageContent,
    /// The message that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
}

impl From<Message> for MessageBody {
    fn from(message: Message) -> Self {
        Self {
            message_id: message.id,
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

/// Fields of `MEMBER_JOINED`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberJoinedBody {
    /// Who came in.
    pub user_id: UserId,
    /// What it may do.
    pub role: MemberRole,
    /// Who brought it in; itself when it joined.
    pub added_by: UserId,
}

/// Fields of `MEMBER_LEFT`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberLeftBody {
    /// Who went.
    pub user_id: UserId,
    /// Who made it go; itself when it left.
    pub removed_by: UserId,
}

/// Fields of `CHANNEL_UPDATED`: the details as they are now.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelUpdatedBody {
    /// Its name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
}

impl From<Entry> for Event {
    fn from(entry: Entry) -> Self {
        let Entry { event_id, channel_id, seq, at, trace_id, traceparent, change } = entry;
        let (event_type, body) = match change {
            Change::MessageSent(message) => (EventType::Message, EventBody::Message(message.into())),
            Change::MemberJoined { member, added_by } => (
                EventType::MemberJoined,
                EventBody::MemberJoined(MemberJoinedBody { user_id: member.user_id, role: member.role, added_by }),
            ),
            Change::MemberLeft { user_id, removed_by } => {
                (EventType::MemberLeft, EventBody::MemberLeft(MemberLeftBody { user_id, removed_by }))
            }
            Change::ChannelUpdated(details) => (
                EventType::ChannelUpdated,
                EventBody::ChannelUpdated(ChannelUpdatedBody { name: details.name, description: details.description }),
            ),
            Change::ChannelClosed => (EventType::ChannelClosed, EventBody::ChannelClosed {}),
        };
        Self { event_type, channel_id, seq, event_id, at, trace_id, traceparent, body }
    }
}

impl Event {
    /// The payload that is stored and published.
    pub fn to_json(&self) -> Bytes {
        to_bytes(self)
    }
}

/// Serialises a payload of this crate.
pub(crate) fn to_bytes<T: Serialize>(payload: &T) -> Bytes {
    let mut json = Vec::with_capacity(USUAL_PAYLOAD);
    #[expect(clippy::expect_used, reason = "payloads have string keys and no fallible Serialize of their own")]
    serde_json::to_writer(&mut json, payload).expect("payloads serialise");
    Bytes::from(json)
}

/// The fields by which an instance routes an event, read without decoding the rest. What it passes on are the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventHeader {
    /// What happened; `None` for a type that this version does not know.
    #[serde(rename = "type", deserialize_with = "known_type")]
    pub event_type: Option<EventType>,
    /// Where.
    pub channel_id: ChannelId,
    /// Its place in the log. A signal has none.
    pub seq: Option<u64>,
    /// In `MEMBER_JOINED` and `MEMBER_LEFT`: who.
    pub user_id: Option<UserId>,
    /// Where spans hang; `None` for most events.
    pub traceparent: Option<String>,
    /// When it happened; `None` where that cannot be read: nothing is routed by it.
    #[serde(default, deserialize_with = "readable_time")]
    pub at: Option<Timestamp>,
}

impl EventHeader {
    /// Reads the header of a payload.
    pub fn parse(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }
}

fn readable_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(raw.get().trim_matches('"').parse().ok())
}

fn known_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EventType>, D::Error> {
    let name = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
    let name: StrDeserializer<'_, serde::de::value::Error> = name.as_ref().into_deserializer();
    Ok(EventType::deserialize(name).ok())
}

#[cfg(test)]
mod tests;
