//! Redis pub/sub topics. This module is the only place that spells their names.

use std::{
    fmt,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

use chat_domain::{ChannelId, UserId};
use uuid::Uuid;

const ROOM: &str = "chat:room:";
const USER: &str = "chat:user:";
const PRESENCE: &str = "chat:presence:";
const PROBE: &str = "chat:probe:";

/// A pub/sub topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Events and signals of one room. Published by message servers, heard by the instances that have it open.
    Room(ChannelId),
    /// What concerns one user. Published by message servers, heard by the instances with a session of that user.
    User(UserId),
    /// Who came to a room and who went. Published by instances, heard by the instances with a session that asked for it.
    Presence(ChannelId),
    /// What a process publishes to find out whether it is heard. It alone hears it.
    Probe(Uuid),
}

impl Topic {
    /// The topic with this name, or `None` if it is none of ours.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(id) = name.strip_prefix(ROOM) {
            return id.parse().ok().map(Self::Room);
        }
        if let Some(id) = name.strip_prefix(USER) {
            return id.parse().ok().map(Self::User);
        }
        if let Some(id) = name.strip_prefix(PRESENCE) {
            return id.parse().ok().map(Self::Presence);
        }
        name.strip_prefix(PROBE)?.parse().ok().map(Self::Probe)
    }

    /// Which of so many shares of all topics this one belongs to, counted from 0. All are about equally large.
    pub fn share(self, of: usize) -> usize {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(self);
        #[expect(clippy::cast_possible_truncation, reason = "less than a usize")]
        let share = (hash % of.max(1) as u64) as usize;
        share
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(id) => write!(f, "{ROOM}{id}"),
            Self::User(id) => write!(f, "{USER}{id}"),
            Self::Presence(id) => write!(f, "{PRESENCE}{id}"),
            Self::Probe(id) => write!(f, "{PROBE}{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "018f4e7a-0000-7000-8000-000000000001";

    fn topics() -> [(Topic, &'static str); 4] {
        let (channel, user) = (ID.parse().unwrap(), ID.parse().unwrap());
        [
            (Topic::Room(channel), "chat:room:018f4e7a-0000-7000-8000-000000000001"),
            (Topic::User(user), "chat:user:018f4e7a-0000-7000-8000-000000000001"),
            (Topic::Presence(channel), "chat:presence:018f4e7a-0000-7000-8000-000000000001"),
            (Topic::Probe(ID.parse().unwrap()), "chat:probe:018f4e7a-0000-7000-8000-000000000001"),
        ]
    }

    #[test]
    fn names_are_frozen() {
        for (topic, name) in topics() {
            assert_eq!(topic.to_string(), name);
        }
    }

    #[test]
    fn names_are_read_back() {
        for (topic, name) in topics() {
            assert_eq!(Topic::parse(name), Some(topic));
        }
    }

    #[test]
    fn shares_are_about_equally_large() {
        let mut shares = [0; 4];
        for n in 0..1_000 {
            shares[Topic::Room(Uuid::from_u128(n).into()).share(4)] += 1;
        }
        assert!(shares.iter().all(|share| (200..300).contains(share)), "{shares:?}");
        assert!(topics().iter().all(|(topic, _)| topic.share(1) == 0 && topic.share(0) == 0));
    }

    #[test]
    fn foreign_names_are_none_of_ours() {
        for name in ["", "chat:room:", "chat:room:x", "news", "chat:typing:1"] {
            assert_eq!(Topic::parse(name), None, "{name}");
        }
    }
}
