use chat_domain::ChannelId;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

/// A frame from a client.
#[derive(Debug)]
pub enum ClientFrame {
    /// Authenticates, or renews the token before it expires.
    Auth {
        /// The token.
        token: String,
    },
    /// Opens channels.
    Subscribe {
        /// Comes back in the answers.
        id: Option<RequestId>,
        /// Which, and from where on.
        channels: Vec<ChannelRequest>,
    },
    /// Closes channels.
    Unsubscribe {
        /// Comes back in the answers.
        id: Option<RequestId>,
        /// Which.
        channel_ids: Vec<ChannelId>,
    },
    /// Asks for a PONG.
    Ping {
        /// Comes back in the PONG.
        id: Option<RequestId>,
    },
}

/// A channel to open.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelRequest {
    /// Which.
    pub channel_id: ChannelId,
    /// The last event that the client has; absent: from now on.
    pub after_seq: Option<u64>,
    /// The incarnation of the log that `after_seq` is of.
    pub epoch: Option<String>,
    /// Whether the client wants to know who else is here.
    #[serde(default)]
    pub presence: bool,
}

/// Where in a channel's log a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last event that it has.
    pub seq: u64,
    /// The incarnation of the log, if it says so.
    pub epoch: Option<String>,
}

impl ChannelRequest {
    /// Where the client is, if it comes back.
    pub fn position(self) -> Option<Position> {
        Some(Position { seq: self.after_seq?, epoch: self.epoch })
    }
}

/// A client's own id for a request: a number or a short text, given back as it came.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(untagged)]
pub enum RequestId {
    /// A number.
    Number(i64),
    /// A text of at most [`RequestId::MAX_LENGTH`] bytes.
    Text(String),
}

impl RequestId {
    /// Longest text id. It is given back once for each channel of a request.
    pub const MAX_LENGTH: usize = 64;
}

/// Why a frame is not understood.
#[derive(Debug, Error)]
pub enum FrameError {
    /// Not a JSON object with a `type`, or with fields that are missing or of the wrong kind.
    #[error("{0}")]
    Bad(String),
    /// A `type` that clients do not send.
    #[error("there is no frame of type {0:?}")]
    Unknown(String),
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    frame_type: std::borrow::Cow<'a, str>,
    #[serde(default)]
    id: Option<RequestId>,
}

#[derive(Deserialize)]
struct Auth {
    token: String,
}

#[derive(Deserialize)]
struct Subscribe {
    channels: Vec<ChannelRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unsubscribe {
    channel_ids: Vec<ChannelId>,
}

impl ClientFrame {
    /// Reads a text frame. Unknown fields are ignored.
    pub fn parse(text: &str) -> Result<Self, FrameError> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|_| FrameError::Bad("the frame is not JSON".into()))?;
        let head: Head<'_> = serde_json::from_str(raw.get()).map_err(|error| bad(&error))?;
        if let Some(RequestId::Text(id)) = &head.id
            && id.len() > RequestId::MAX_LENGTH
        {
            return Err(FrameError::Bad(format!("id must have at most {} bytes", RequestId::MAX_LENGTH)));
        }
        let id = head.id;
        match &*head.frame_type {
            "AUTH" => fields(text).map(|Auth { token }| Self::Auth { token }),
            "SUBSCRIBE" => fields(text).map(|Subscribe { channels }| Self::Subscribe { id, channels }),
            "UNSUBSCRIBE" => fields(text).map(|Unsubscribe { channel_ids }| Self::Unsubscribe { id, channel_ids }),
            "PING" => Ok(Self::Ping { id }),
            // Cut, since it is sent back.
            other => Err(FrameError::Unknown(other.chars().take(40).collect())),
        }
    }
}

/// The id of a frame that is not served, if it has one that can be given back.
pub fn id_of(text: &str) -> Option<RequestId> {
    let Head { id, .. } = serde_json::from_str(text).ok()?;
    id.filter(|id| !matches!(id, RequestId::Text(id) if id.len() > RequestId::MAX_LENGTH))
}

fn fields<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FrameError> {
    serde_json::from_str(text).map_err(|error| bad(&error))
}

fn bad(error: &serde_json::Error) -> FrameError {
    // The library's text quotes at most the name of a field or a short scalar; a token is never where a scalar of
    // another kind is expected.
    FrameError::Bad(error.to_string().chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHANNEL: &str = "018f4e7a-0000-7000-8000-000000000001";

    #[test]
    fn subscribe_has_channels_with_positions() {
        let text = format!(
            r#"{{"type":"SUBSCRIBE","id":7,"new":true,"channels":[{{"channelId":"{CHANNEL}","afterSeq":3,"epoch":"e"}},{{"channelId":"{CHANNEL}"}}]}}"#
        );
        let Ok(ClientFrame::Subscribe { id, channels }) = ClientFrame::parse(&text) else { panic!() };
        assert_eq!(id, Some(RequestId::Number(7)));
        let positions: Vec<_> = channels.into_iter().map(ChannelRequest::position).collect();
        assert_eq!(positions, [Some(Position { seq: 3, epoch: Some("e".into()) }), None]);
    }

    #[test]
    fn ids_are_numbers_or_short_texts() {
        assert!(matches!(ClientFrame::parse(r#"{"type":"PING"}"#), Ok(ClientFrame::Ping { id: None })));
        let Ok(ClientFrame::Ping { id }) = ClientFrame::parse(r#"{"type":"PING","id":"a"}"#) else { panic!() };
        assert_eq!(id, Some(RequestId::Text("a".into())));
        let long = format!(r#"{{"type":"PING","id":"{}"}}"#, "x".repeat(RequestId::MAX_LENGTH + 1));
        assert!(matches!(ClientFrame::parse(&long), Err(FrameError::Bad(_))));
    }

    #[test]
    fn the_id_of_a_refused_frame_is_found() {
        assert_eq!(id_of(r#"{"type":"SUBSCRIBE","id":"a","channels":1}"#), Some(RequestId::Text("a".into())));
        assert_eq!(id_of(r#"{"type":"PING"}"#), None);
        assert_eq!(id_of("hello"), None);
        assert_eq!(id_of(&format!(r#"{{"type":"PING","id":"{}"}}"#, "x".repeat(RequestId::MAX_LENGTH + 1))), None);
    }

    #[test]
    fn bad_and_unknown_frames_are_told_apart() {
        for bad in ["", "hello", "[]", "1", "{}", r#"{"type":1}"#, r#"{"type":"AUTH"}"#, r#"{"type":"AUTH","token":1}"#]
        {
            assert!(matches!(ClientFrame::parse(bad), Err(FrameError::Bad(_))), "{bad}");
        }
        for bad in [r#"{"type":"SUBSCRIBE"}"#, r#"{"type":"SUBSCRIBE","channels":[{"channelId":"x"}]}"#] {
            assert!(matches!(ClientFrame::parse(bad), Err(FrameError::Bad(_))), "{bad}");
        }
        assert!(matches!(ClientFrame::parse(r#"{"type":"DANCE"}"#), Err(FrameError::Unknown(_))));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            drop(ClientFrame::parse(&text));
        }
    }
}
