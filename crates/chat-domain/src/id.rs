//! Ids as distinct types, so that a user id cannot be passed where a channel id belongs.
//!
//! New ids are UUIDv7: unique without coordination, sorted by creation time. Any UUID is accepted when one is read,
//! because user ids come from the product's own token issuer.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id whose leading bits are the given time.
            pub fn new(at: Timestamp) -> Self {
                let millis = at.as_millis().max(0).unsigned_abs();
                // Random bytes of this thread: several ids a request are no reason for as many system calls.
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid())
            }

            /// The id as a plain UUID, for storage.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

id!(
    /// A person or service that takes part. The `sub` of its token.
    UserId
);
id!(
    /// The aggregate that people talk in. A room has the id of its channel.
    ChannelId
);
id!(
    /// One message.
    MessageId
);
id!(
    /// One entry of a channel's log.
    EventId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_are_version_7_and_sort_by_time() {
        let early = MessageId::new(Timestamp::from_millis(1_000));
        let late = MessageId::new(Timestamp::from_millis(2_000));

        assert_eq!(early.as_uuid().get_version_num(), 7);
        assert!(early < late);
    }

    #[test]
    fn ids_of_the_same_millisecond_differ() {
        let at = Timestamp::from_millis(1_000);
        assert_ne!(MessageId::new(at), MessageId::new(at));
    }

    #[test]
    fn json_form_is_the_bare_uuid() {
        let id: UserId = "018f4e7a-0000-7000-8000-000000000001".parse().unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"018f4e7a-0000-7000-8000-000000000001\"");
    }
}
