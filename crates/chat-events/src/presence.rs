//! Signals of who is here, on [`Topic::Presence`](crate::Topic::Presence), and the frames made of them. They have no `seq`:
//! who missed one is told the whole again.

use chat_domain::{ChannelId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// Users of a room who came, or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PRESENCE", rename_all = "camelCase")]
pub struct PresenceSignal {
    /// The room.
    pub channel_id: ChannelId,
    /// Each user once.
    pub users: Vec<UserPresence>,
    /// Only where the list is the whole of those who are here: how many there are, of whom no more than a bound are listed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub online: Option<u64>,
}

/// How one user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserPresence {
    /// Who.
    pub user_id: UserId,
    /// Here or not.
    pub status: PresenceStatus,
    /// When the last session of who is not here ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_seen_at: Option<Timestamp>,
}

/// Is a user here?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PresenceStatus {
    /// It has a session, on any instance, or had one until a moment ago.
    Online,
    /// It has none.
    Offline,
}

impl UserPresence {
    /// A user who is here.
    pub const fn online(user_id: UserId) -> Self {
        Self { user_id, status: PresenceStatus::Online, last_seen_at: None }
    }

    /// A user who went.
    pub const fn offline(user_id: UserId, last_seen_at: Timestamp) -> Self {
        Self { user_id, status: PresenceStatus::Offline, last_seen_at: Some(last_seen_at) }
    }
}

impl PresenceSignal {
    /// The payload that is published, and the frame that clients receive.
    pub fn to_json(&self) -> bytes::Bytes {
        crate::event::to_bytes(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_frozen_and_read_back() {
        let channel_id = "018f4e7a-0000-7000-8000-000000000002".parse().unwrap();
        let user = |n: u32| format!("018f4e7a-0000-7000-8000-{n:012}").parse().unwrap();
        let users = vec![
            UserPresence::online(user(3)),
            UserPresence::offline(user(4), Timestamp::from_millis(1_795_338_000_000)),
        ];
        let signals = [
            PresenceSignal { channel_id, users, online: None },
            PresenceSignal { channel_id, users: vec![UserPresence::online(user(3))], online: Some(812) },
        ];
        for signal in &signals {
            assert_eq!(serde_json::from_slice::<PresenceSignal>(&signal.to_json()).unwrap(), *signal);
        }
        let payloads: Vec<_> =
            signals.iter().map(|signal| String::from_utf8(signal.to_json().to_vec()).unwrap()).collect();
        insta::assert_snapshot!(payloads.join("\n"));
    }
}
