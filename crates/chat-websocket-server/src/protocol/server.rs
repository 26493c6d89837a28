use chat_domain::{ChannelId, Epoch, Timestamp, UserId};
use serde::Serialize;
use uuid::Uuid;

use super::RequestId;
use crate::frame::TextFrame;

/// A frame that the server makes itself; events and signals are passed on as they came.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum ServerFrame {
    /// The session is authenticated.
    Hello {
        /// [`super::VERSION`].
        protocol: u32,
        /// The session.
        session_id: Uuid,
        /// Whose it is.
        user_id: UserId,
        /// The instance that serves it.
        instance_id: Uuid,
        /// Between two pings of the server, in milliseconds.
        heartbeat_ms: u64,
        /// Largest frame that a client may send.
        max_frame_bytes: usize,
        /// When the token expires. A new one is sent by AUTH before.
        expires_at: Timestamp,
    },
    /// The channel is open: all that follows `headSeq` will come.
    Subscribed {
        /// Of the SUBSCRIBE.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// The channel.
        channel_id: ChannelId,
        /// The newest event that the client has now, unless a RESET came before.
        head_seq: u64,
        /// The incarnation of the log.
        epoch: Epoch,
        /// How many events were replayed.
        replayed: u64,
    },
    /// The client's position is of no use: load the history, then go on from SUBSCRIBED.
    Reset {
        /// The channel.
        channel_id: ChannelId,
        /// Why.
        reason: ResetReason,
        /// The newest event.
        head_seq: u64,
        /// The oldest event that could be replayed.
        oldest_seq: u64,
        /// The incarnation of the log.
        epoch: Epoch,
    },
    /// The channel is closed for this session.
    Unsubscribed {
        /// Of the UNSUBSCRIBE.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// The channel.
        channel_id: ChannelId,
        /// Why.
        reason: UnsubscribeReason,
    },
    /// Something was refused.
    Error {
        /// Of the refused frame.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
        /// The refused channel of a SUBSCRIBE.
        #[serde(skip_serializing_if = "Option::is_none")]
        channel_id: Option<ChannelId>,
        /// Stable.
        code: ErrorCode,
        /// For people.
        message: String,
        /// May the same frame work later?
        retryable: bool,
        /// When, in milliseconds from now.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// The instance is going away: wait this long, then come back.
    Reconnect {
        /// In milliseconds.
        after_ms: u64,
    },
    /// The answer to PING.
    Pong {
        /// Of the PING.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<RequestId>,
    },
}

/// Why a position is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ResetReason {
    /// The log is another one.
    EpochChanged,
    /// Events after the position were deleted.
    TooOld,
    /// More events than are replayed.
    TooMany,
}

/// Why a channel is closed for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnsubscribeReason {
    /// The client asked for it.
    Requested,
    /// The user is not a member any more.
    Removed,
    /// The channel was deactivated.
    ChannelClosed,
}

/// What an ERROR is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The first frame has to be AUTH.
    NotAuthenticated,
    /// The token is no good.
    TokenInvalid,
    /// The token was good once.
    TokenExpired,
    /// The token was good until its user's tokens were revoked.
    TokenRevoked,
    /// Not JSON, or bad fields, or a binary frame.
    BadFrame,
    /// A type that clients do not send.
    UnknownFrame,
    /// Too many frames.
    RateLimited,
    /// No such channel, or one that the user may not listen to.
    ChannelNotFound,
    /// More channels than a session may have open.
    TooManyChannels,
    /// Storage or the room cannot answer now.
    Unavailable,
}

impl ServerFrame {
    /// The refusal of a frame, or of one channel of it.
    pub fn error(id: Option<RequestId>, channel_id: Option<ChannelId>, code: ErrorCode, message: &str) -> Self {
        let retryable = matches!(code, ErrorCode::RateLimited | ErrorCode::Unavailable);
        Self::Error {
            id,
            channel_id,
            code,
            message: message.to_owned(),
            retryable,
            retry_after_ms: retryable.then_some(1_000),
        }
    }

    /// The frame as it is sent.
    pub fn encode(&self) -> TextFrame {
        #[expect(clippy::expect_used, reason = "frames have string keys and no fallible Serialize of their own")]
        let json = serde_json::to_string(self).expect("frames serialise");
        TextFrame::from(&*json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_frozen() {
        let id = |last: u32| Uuid::parse_str(&format!("018f4e7a-0000-7000-8000-{last:012}")).unwrap();
        let (channel_id, epoch) = (ChannelId::from(id(1)), Epoch::from(id(2)));
        let request = || Some(RequestId::Number(7));
        let frames = [
            ServerFrame::Hello {
                protocol: super::super::VERSION,
                session_id: id(3),
                user_id: id(4).into(),
                instance_id: id(5),
                heartbeat_ms: 25_000,
                max_frame_bytes: 16_384,
                expires_at: Timestamp::from_millis(1_795_338_000_000),
            },
            ServerFrame::Subscribed { id: request(), channel_id, head_seq: 9, epoch, replayed: 2 },
            ServerFrame::Reset { channel_id, reason: ResetReason::TooMany, head_seq: 9, oldest_seq: 1, epoch },
            ServerFrame::Unsubscribed { id: None, channel_id, reason: UnsubscribeReason::ChannelClosed },
            ServerFrame::error(request(), Some(channel_id), ErrorCode::ChannelNotFound, "there is no such channel"),
            ServerFrame::error(None, None, ErrorCode::RateLimited, "too many frames"),
            ServerFrame::Reconnect { after_ms: 500 },
            ServerFrame::Pong { id: Some(RequestId::Text("a".into())) },
        ];
        let texts: Vec<_> = frames.iter().map(|frame| frame.encode().text().to_owned()).collect();
        insta::assert_snapshot!(texts.join("\n"));
    }
}
