//! The JSON of the frames, version 1 of the protocol.

use std::borrow::Cow;

use bytes::Bytes;
use chat_domain::{ChannelId, Epoch, Timestamp, UserId};
use chat_events::{EventHeader, PresenceSignal, UserSignal};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::item::{Event, ResetReason, UnsubscribeReason};

/// The protocol that this client speaks.
pub(crate) const PROTOCOL: u32 = 1;

/// What a client sends.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub(crate) enum Outgoing<'a> {
    Auth { token: &'a str },
    Subscribe { id: u64, channels: &'a [Wish] },
    Unsubscribe { id: u64, channel_ids: &'a [ChannelId] },
    Ping,
}

/// A channel in a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wish {
    pub(crate) channel_id: ChannelId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<Epoch>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) presence: bool,
}

impl Outgoing<'_> {
    pub(crate) fn to_json(&self) -> String {
        #[expect(clippy::expect_used, reason = "string keys and no fallible Serialize")]
        serde_json::to_string(self).expect("frames serialise")
    }
}

/// What a server sends.
#[derive(Debug)]
pub(crate) enum Incoming {
    Hello(Hello),
    Subscribed(Subscribed),
    Reset(Reset),
    Unsubscribed(Unsubscribed),
    Event(Event),
    UserSignal(UserSignal),
    Presence(PresenceSignal),
    Error(ErrorFrame),
    Reconnect(Reconnect),
    /// PONG, signals without a `seq`, and what a later version may send.
    Ignored,
}

impl Incoming {
    /// Reads a frame. The body of an event stays as it came.
    pub(crate) fn parse(frame: Bytes) -> Result<Self, serde_json::Error> {
        let Tag { kind } = serde_json::from_slice(&frame)?;
        Ok(match &*kind {
            "HELLO" => Self::Hello(fields(&frame)?),
            "SUBSCRIBED" => Self::Subscribed(fields(&frame)?),
            "RESET" => Self::Reset(fields(&frame)?),
            "UNSUBSCRIBED" => Self::Unsubscribed(fields(&frame)?),
            "ERROR" => Self::Error(fields(&frame)?),
            "RECONNECT" => Self::Reconnect(fields(&frame)?),
            "CHANNEL_ADDED" | "CHANNEL_REMOVED" | "USER_STATUS_CHANGED" | "TOKENS_REVOKED" => {
                Self::UserSignal(fields(&frame)?)
            }
            "PRESENCE" => Self::Presence(fields(&frame)?),
            _ => {
                drop(kind);
                event(frame)
            }
        })
    }
}

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

fn fields<T: DeserializeOwned>(frame: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(frame)
}

/// Whatever has a channel and a `seq` is an event, known or not: it takes its place in the log.
fn event(frame: Bytes) -> Incoming {
    match EventHeader::parse(&frame) {
        Ok(EventHeader { event_type, channel_id, seq: Some(seq), .. }) => {
            Incoming::Event(Event { channel_id, seq, event_type, body: frame })
        }
        _ => Incoming::Ignored,
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    pub(crate) session_id: String,
    pub(crate) user_id: UserId,
    pub(crate) instance_id: Option<String>,
    pub(crate) heartbeat_ms: u64,
    pub(crate) max_frame_bytes: usize,
    pub(crate) expires_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Subscribed {
    pub(crate) id: Option<u64>,
    pub(crate) channel_id: ChannelId,
    pub(crate) head_seq: u64,
    pub(crate) epoch: Epoch,
    #[serde(default)]
    pub(crate) replayed: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reset {
    pub(crate) channel_id: ChannelId,
    pub(crate) reason: ResetReason,
    pub(crate) head_seq: u64,
    pub(crate) oldest_seq: u64,
    pub(crate) epoch: Epoch,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Unsubscribed {
    pub(crate) channel_id: ChannelId,
    pub(crate) reason: UnsubscribeReason,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorFrame {
    pub(crate) id: Option<u64>,
    pub(crate) channel_id: Option<ChannelId>,
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) retryable: bool,
    pub(crate) retry_after_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reconnect {
    #[serde(default)]
    pub(crate) after_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Result<Incoming, serde_json::Error> {
        Incoming::parse(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn frames_are_written_as_documented() {
        let channel_id: ChannelId = "018f4e7a-0000-7000-8000-000000000002".parse().unwrap();
        let wish = Wish { channel_id, after_seq: Some(7), epoch: None, presence: false };
        assert_eq!(
            Outgoing::Subscribe { id: 1, channels: &[wish] }.to_json(),
            r#"{"type":"SUBSCRIBE","id":1,"channels":[{"channelId":"018f4e7a-0000-7000-8000-000000000002","afterSeq":7}]}"#
        );
        assert_eq!(
            Outgoing::Unsubscribe { id: 2, channel_ids: &[channel_id] }.to_json(),
            r#"{"type":"UNSUBSCRIBE","id":2,"channelIds":["018f4e7a-0000-7000-8000-000000000002"]}"#
        );
        assert_eq!(Outgoing::Auth { token: "t" }.to_json(), r#"{"type":"AUTH","token":"t"}"#);
        assert_eq!(Outgoing::Ping.to_json(), r#"{"type":"PING"}"#);
    }

    #[test]
    fn an_event_keeps_its_bytes_and_unknown_types_are_events_too() {
        let text = r#"{"new":1,"seq":3,"type":"POLL_OPENED","channelId":"018f4e7a-0000-7000-8000-000000000002"}"#;
        let Incoming::Event(event) = parse(text).unwrap() else { panic!("an event") };
        assert_eq!((event.seq, event.event_type, &event.body[..]), (3, None, text.as_bytes()));
    }

    #[test]
    fn that_tokens_were_revoked_is_a_signal_to_the_user() {
        let text = r#"{"type":"TOKENS_REVOKED","userId":"018f4e7a-0000-7000-8000-000000000002",
            "before":"2026-11-22T09:00:00.123Z"}"#;
        let Incoming::UserSignal(UserSignal::TokensRevoked { before, .. }) = parse(text).unwrap() else {
            panic!("a signal")
        };
        assert_eq!(before, Timestamp::from_millis(1_795_338_000_123));
    }

    #[test]
    fn what_has_no_place_in_a_log_is_ignored() {
        for text in [
            r#"{"type":"PONG"}"#,
            r#"{"type":"TYPING","channelId":"018f4e7a-0000-7000-8000-000000000002","userId":"x"}"#,
            r#"{"type":"NEWS","seq":1}"#,
        ] {
            assert!(matches!(parse(text).unwrap(), Incoming::Ignored), "{text}");
        }
    }

    #[test]
    fn broken_frames_are_errors() {
        for text in ["", "[]", "{}", r#"{"type":"HELLO"}"#, r#"{"type":1}"#, "nonsense"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
