//! An event as a room handles it: parsed once, its bytes shared with every session.

use chat_domain::{ChannelId, Timestamp, UserId, ports::LoggedEvent};
use chat_events::{EventHeader, EventType};
use common_logging::trace::Place;
use thiserror::Error;
use tokio::time::Instant;

use crate::frame::{TextFrame, UncheckedFrame};

/// An event of a room's log, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomEvent {
    /// Its place in the log.
    pub seq: u64,
    /// What sessions receive; cloning it shares the bytes.
    pub frame: TextFrame,
    /// What it does to who may listen.
    pub effect: Option<Effect>,
    /// When it was committed, by the clock of who did that.
    pub at: Option<Timestamp>,
    /// There only if its request is traced, and it came over the bus.
    pub traced: Option<Box<Traced>>,
}

/// An event whose delivery becomes a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Its publication.
    pub publication: Place,
    /// When it was heard.
    pub heard_at: Instant,
}

/// What an event does to who may listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This user is not a member any more.
    Left(UserId),
    /// The channel takes no more events.
    Closed,
}

/// Something published on a room's topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// An event of the log.
    Event(RoomEvent),
    /// Something ephemeral, to be passed on as it is.
    Signal(TextFrame),
}

/// Why a payload is skipped.
#[derive(Debug, Error)]
pub enum Malformed {
    /// Not JSON, or not with the fields of an event.
    #[error("it does not decode: {0}")]
    Undecodable(#[from] serde_json::Error),
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// It belongs to another room.
    #[error("it is of another channel")]
    Misrouted,
}

impl Published {
    /// Reads a payload of the room's topic.
    pub fn parse(channel_id: ChannelId, frame: UncheckedFrame) -> Result<Self, Malformed> {
        let header = EventHeader::parse(frame.payload())?;
        if header.channel_id != channel_id {
            return Err(Malformed::Misrouted);
        }
        // serde_json has read it from UTF-8, but skips what it does not need without checking it.
        let frame = frame.check().map_err(|_| Malformed::NotUtf8)?;
        let Some(seq) = header.seq else { return Ok(Self::Signal(frame)) };
        let effect = match (header.event_type, header.user_id) {
            (Some(EventType::MemberLeft), Some(user_id)) => Some(Effect::Left(user_id)),
            (Some(EventType::ChannelClosed), _) => Some(Effect::Closed),
            _ => None,
        };
        let traced = header.traceparent.as_deref().and_then(Place::from_traceparent);
        let traced = traced.map(|publication| Box::new(Traced { publication, heard_at: Instant::now() }));
        Ok(Self::Event(RoomEvent { seq, frame, effect, at: header.at, traced }))
    }
}

impl RoomEvent {
    /// Reads an entry of the room's log. Its trace is of the past.
    pub fn from_log(logged: &LoggedEvent) -> Result<Self, Malformed> {
        match Published::parse(logged.channel_id, UncheckedFrame::new(&logged.body))? {
            Published::Event(event) if event.seq == logged.seq => Ok(Self { traced: None, ..event }),
            Published::Event(_) | Published::Signal(_) => Err(Malformed::Misrouted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &str = "018f4e7a-0000-7000-8000-000000000001";

    fn parse(payload: &str) -> Result<Published, Malformed> {
        Published::parse(CHANNEL.parse().unwrap(), UncheckedFrame::new(payload.as_bytes()))
    }

    #[test]
    fn events_keep_their_bytes() {
        let payload = format!(
            r#"{{"type":"MESSAGE","channelId":"{CHANNEL}","seq":7,"at":"1970-01-01T00:00:00.005Z","content":"ü","new":[1]}}"#
        );
        let Ok(Published::Event(event)) = parse(&payload) else { panic!() };
        assert_eq!((event.seq, event.frame.text(), event.effect), (7, payload.as_str(), None));
        assert_eq!(event.at, Some(Timestamp::from_millis(5)));
    }

    #[test]
    fn membership_events_have_an_effect() {
        let user = "018f4e7a-0000-7000-8000-000000000009";
        let left = format!(r#"{{"type":"MEMBER_LEFT","channelId":"{CHANNEL}","seq":7,"userId":"{user}"}}"#);
        let Ok(Published::Event(event)) = parse(&left) else { panic!() };
        assert_eq!(event.effect, Some(Effect::Left(user.parse().unwrap())));
        let closed = format!(r#"{{"type":"CHANNEL_CLOSED","channelId":"{CHANNEL}","seq":8}}"#);
        let Ok(Published::Event(event)) = parse(&closed) else { panic!() };
        assert_eq!(event.effect, Some(Effect::Closed));
    }

    #[test]
    fn what_has_no_seq_is_a_signal() {
        assert!(matches!(parse(&format!(r#"{{"type":"TYPING","channelId":"{CHANNEL}"}}"#)), Ok(Published::Signal(_))));
    }

    #[test]
    fn other_payloads_are_malformed() {
        let other = r#"{"type":"MESSAGE","channelId":"018f4e7a-0000-7000-8000-000000000002","seq":1}"#;
        for payload in ["", "hello", "{}", "[1]", other, r#"{"type":"MESSAGE","channelId":"x","seq":1}"#] {
            assert!(parse(payload).is_err(), "{payload}");
        }
        let mut bytes = format!(r#"{{"type":"MESSAGE","channelId":"{CHANNEL}","seq":1,"content":"?"}}"#).into_bytes();
        let at = bytes.iter().position(|b| *b == b'?').unwrap();
        bytes[at] = 0xff;
        assert!(Published::parse(CHANNEL.parse().unwrap(), UncheckedFrame::new(&bytes)).is_err());
    }
}
