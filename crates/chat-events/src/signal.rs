//! Signals to one user, on [`Topic::User`](crate::Topic::User). They have no `seq`: what they announce can be asked for
//! again over HTTP.

use chat_domain::{ChannelId, Timestamp, UserId, UserStatus};
use serde::{Deserialize, Serialize};

/// Something that concerns one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum UserSignal {
    /// The user was brought into a channel, or made one.
    ChannelAdded {
        /// The user.
        user_id: UserId,
        /// The channel.
        channel_id: ChannelId,
    },
    /// The user went out of a channel, or was made to.
    ChannelRemoved {
        /// The user.
        user_id: UserId,
        /// The channel.
        channel_id: ChannelId,
    },
    /// The user's status changed: its sessions may have to end.
    UserStatusChanged {
        /// The user.
        user_id: UserId,
        /// The new status.
        status: UserStatus,
    },
    /// Tokens of the user are void: the sessions that were signed in with one have to end.
    TokensRevoked {
        /// The user.
        user_id: UserId,
        /// Tokens that were issued before this moment are.
        before: Timestamp,
    },
}

impl UserSignal {
    /// The user that it is for.
    pub const fn user_id(&self) -> UserId {
        match self {
            Self::ChannelAdded { user_id, .. }
            | Self::ChannelRemoved { user_id, .. }
            | Self::UserStatusChanged { user_id, .. }
            | Self::TokensRevoked { user_id, .. } => *user_id,
        }
    }

    /// The payload that is published.
    pub fn to_json(&self) -> bytes::Bytes {
        crate::event::to_bytes(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_frozen() {
        let user_id = "018f4e7a-0000-7000-8000-000000000001".parse().unwrap();
        let channel_id = "018f4e7a-0000-7000-8000-000000000002".parse().unwrap();
        let signals = [
            UserSignal::ChannelAdded { user_id, channel_id },
            UserSignal::ChannelRemoved { user_id, channel_id },
            UserSignal::UserStatusChanged { user_id, status: UserStatus::Banned },
            UserSignal::TokensRevoked { user_id, before: Timestamp::from_millis(1_795_338_000_123) },
        ];
        let payloads: Vec<_> =
            signals.iter().map(|signal| String::from_utf8(signal.to_json().to_vec()).unwrap()).collect();
        insta::assert_snapshot!(payloads.join("\n"));
    }
}
