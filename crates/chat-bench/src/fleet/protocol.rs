//! What the texts of a server mean, as far as a connection has to know.

use std::time::Duration;

/// What an event begins with.
pub(crate) const MESSAGE: &[u8] = b"{\"type\":\"MESSAGE\",";

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Chat,
    /// Version 4 of Engine.IO, 5 of Socket.IO.
    SocketIo,
    /// Messages, and nothing else.
    Bare,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Message,
    /// The connection may say what it wants.
    Ready,
    /// One of the subscriptions is there.
    Subscribed,
    /// It has to be answered with this.
    Question(&'static str),
    Refusal,
    /// The same may be asked for later.
    Later(Duration),
    Nothing,
}

impl Protocol {
    pub(super) fn read(self, text: &[u8]) -> Meaning {
        let known: &[(&[u8], Meaning)] = match self {
            Self::Chat => &[
                (MESSAGE, Meaning::Message),
                (b"{\"type\":\"HELLO\",", Meaning::Ready),
                (b"{\"type\":\"SUBSCRIBED\",", Meaning::Subscribed),
                (b"{\"type\":\"RESET\",", Meaning::Refusal),
                (b"{\"type\":\"ERROR\",", Meaning::Refusal),
            ],
            Self::SocketIo => &[
                (b"42[\"message\",", Meaning::Message),
                // An opened connection connects to the namespace, and a ping has to be answered.
                (b"0{", Meaning::Question("40")),
                (b"2", Meaning::Question("3")),
                (b"40{", Meaning::Ready),
                (b"42[\"joined\",", Meaning::Subscribed),
                (b"44", Meaning::Refusal),
            ],
            Self::Bare => &[(MESSAGE, Meaning::Message)],
        };
        let meant = known.iter().find(|(beginning, _)| text.starts_with(beginning));
        match meant.map_or(Meaning::Nothing, |(_, meaning)| *meaning) {
            Meaning::Refusal => retry_after(text).map_or(Meaning::Refusal, Meaning::Later),
            meaning => meaning,
        }
    }
}

/// How long to wait, if that helps.
fn retry_after(error: &[u8]) -> Option<Duration> {
    let error: serde_json::Value = serde_json::from_slice(error).ok()?;
    error["retryAfterMs"].as_u64().filter(|_| error["retryable"] == true).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_chat_are_told_by_their_type() {
        let read = |text: &str| Protocol::Chat.read(text.as_bytes());
        assert_eq!(read(r#"{"type":"MESSAGE","seq":1}"#), Meaning::Message);
        assert_eq!(read(r#"{"type":"SUBSCRIBED","id":1}"#), Meaning::Subscribed);
        assert_eq!(read(r#"{"type":"ERROR","code":"CHANNEL_NOT_FOUND","retryable":false}"#), Meaning::Refusal);
        let later = read(r#"{"type":"ERROR","code":"UNAVAILABLE","retryable":true,"retryAfterMs":1000}"#);
        assert_eq!(later, Meaning::Later(Duration::from_secs(1)));
        assert_eq!(read(r#"{"type":"PRESENCE"}"#), Meaning::Nothing);
    }

    #[test]
    fn texts_of_socket_io_are_told_by_their_number() {
        let read = |text: &str| Protocol::SocketIo.read(text.as_bytes());
        assert_eq!(read(r#"0{"sid":"a","upgrades":[],"pingInterval":25000}"#), Meaning::Question("40"));
        assert_eq!(read("2"), Meaning::Question("3"));
        assert_eq!(read(r#"40{"sid":"b"}"#), Meaning::Ready);
        assert_eq!(read(r#"42["joined","room"]"#), Meaning::Subscribed);
        assert_eq!(read(r#"42["message",{"type":"MESSAGE"}]"#), Meaning::Message);
        assert_eq!(read(r#"44{"message":"no"}"#), Meaning::Refusal);
    }
}
