//! Redis pub/sub topics. This module is the only place that spells their names.

use std::fmt;

use chat_domain::{ChannelId, UserId};

const ROOM: &str = "chat:room:";
const USER: &str = "chat:user:";

/// A pub/sub topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Events and signals of one room. Published by message servers, heard by the instances that have it open.
    Room(ChannelId),
    /// What concerns one user. Published by message servers, heard by the instances with a session of that user.
    User(UserId),
}

impl Topic {
    /// The topic with this name, or `None` if it is none of ours.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(id) = name.strip_prefix(ROOM) {
            return id.parse().ok().map(Self::Room);
        }
        name.strip_prefix(USER)?.parse().ok().map(Self::User)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(id) => write!(f, "{ROOM}{id}"),
            Self::User(id) => write!(f, "{USER}{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "018f4e7a-0000-7000-8000-000000000001";

    #[test]
    fn names_are_frozen() {
        assert_eq!(Topic::Room(ID.parse().unwrap()).to_string(), "chat:room:018f4e7a-0000-7000-8000-000000000001");
        assert_eq!(Topic::User(ID.parse().unwrap()).to_string(), "chat:user:018f4e7a-0000-7000-8000-000000000001");
    }

    #[test]
    fn names_are_read_back() {
        for topic in [Topic::Room(ID.parse().unwrap()), Topic::User(ID.parse().unwrap())] {
            assert_eq!(Topic::parse(&topic.to_string()), Some(topic));
        }
    }

    #[test]
    fn foreign_names_are_none_of_ours() {
        for name in ["", "chat:room:", "chat:room:x", "news", "chat:typing:1"] {
            assert_eq!(Topic::parse(name), None, "{name}");
        }
    }
}
