//! What the owner of a client sees.

use std::time::Duration;

use bytes::Bytes;
use chat_domain::{ChannelId, Epoch, MessageId, MessageStatus, MessageType, Timestamp, UserId};
use chat_events::{EventType, PresenceSignal, UserSignal};
use serde::Deserialize;

/// Something that happened, in the order in which it did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Item {
    /// The connection changed.
    State(State),
    /// From here on the channel is live: all there was before came already.
    Subscribed {
        /// The channel.
        channel_id: ChannelId,
        /// `seq` of the newest event when it became live.
        head_seq: u64,
        /// The incarnation of its log: keep it with the last `seq`.
        epoch: Epoch,
        /// How many events were replayed.
        replayed: u64,
    },
    /// The next event of a channel.
    Event(Event),
    /// The next event that comes is the one after `after_seq`, and those between the owner's last one and that do not come.
    ///
    /// - With [`ClientConfig::history`](crate::ClientConfig::history), everything that the log still has is loaded and comes
    ///   as [`Item::Event`]s, so this is told only if something is gone for good: `TooOld`, events that are no longer kept;
    ///   `EpochChanged`, the log is another one now: discard what came before, all of the new log follows.
    /// - Without it, `after_seq` is the `head_seq`: load what lies before over HTTP.
    Reset {
        /// The channel.
        channel_id: ChannelId,
        /// Why.
        reason: ResetReason,
        /// `seq` of the newest event.
        head_seq: u64,
        /// `seq` of the oldest event that can still be had.
        oldest_seq: u64,
        /// The incarnation of its log.
        epoch: Epoch,
        /// The events after this one follow.
        after_seq: u64,
    },
    /// Nothing more comes from the channel, until it is subscribed to again.
    Unsubscribed {
        /// The channel.
        channel_id: ChannelId,
        /// Why.
        reason: UnsubscribeReason,
    },
    /// A subscription was refused for good; what can pass is tried again and not reported.
    Refused {
        /// The channel.
        channel_id: ChannelId,
        /// The stable code of the error.
        code: String,
        /// For a person to read.
        message: String,
    },
    /// Something that concerns the user in all its sessions. Not replayed: after being offline, ask over HTTP.
    UserSignal(UserSignal),
    /// Who is here in a channel that was subscribed to with presence. With `online` it is the whole list: whoever is not in it
    /// is not here, or is one of very many. Without, it is who came or went.
    Presence(PresenceSignal),
    /// The server complained about something that is not a subscription.
    Error {
        /// The stable code of the error.
        code: String,
        /// For a person to read.
        message: String,
    },
}

/// How the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Trying this instance (without its query).
    Connecting {
        /// Its address.
        url: String,
    },
    /// Signed in.
    Online {
        /// The server's id of this connection.
        session_id: String,
        /// Who the server takes us for.
        user_id: UserId,
        /// The instance, if it gives its name.
        instance_id: Option<String>,
    },
    /// The connection is gone or did not come about; the next try is in `retry_in`.
    Offline {
        /// The close code, or the HTTP status of a refused upgrade, if there was one.
        code: Option<u16>,
        /// For a person to read.
        reason: String,
        /// The time until the next try.
        retry_in: Duration,
    },
    /// The server refused us for good. The last item.
    Closed {
        /// The close code, or the HTTP status of a refused upgrade.
        code: u16,
        /// For a person to read.
        reason: String,
    },
}

/// An entry of a channel's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where.
    pub channel_id: ChannelId,
    /// Its place in the log: one more than that of the event before.
    pub seq: u64,
    /// What happened; `None` for a type that this version does not know.
    pub event_type: Option<EventType>,
    /// All of it, the JSON as the server sent it.
    pub body: Bytes,
}

impl Event {
    /// The message, if the event is one; decoded at each call.
    pub fn message(&self) -> Option<Result<MessageView, serde_json::Error>> {
        (self.event_type == Some(EventType::Message)).then(|| serde_json::from_slice(&self.body))
    }
}

/// The fields of a `MESSAGE` event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageView {
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
    pub client_message_id: Option<String>,
    /// The content in full; its form depends on the type.
    #[serde(default)]
    pub payload: serde_json::Value,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
}

/// Why a channel cannot be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ResetReason {
    /// The log is another one now.
    EpochChanged,
    /// What is missing is no longer kept.
    TooOld,
    /// More is missing than is replayed.
    TooMany,
    /// A reason that this version does not know.
    #[serde(other)]
    Other,
}

/// Why a channel sends nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnsubscribeReason {
    /// The owner asked for it.
    Requested,
    /// The user is no longer a member.
    Removed,
    /// The channel was deactivated.
    ChannelClosed,
    /// The user may not see the channel.
    Forbidden,
    /// A reason that this version does not know.
    #[serde(other)]
    Other,
}
