//! The keys of the registry, spelled here and nowhere else.

use chat_domain::{ChannelId, UserId};
use uuid::Uuid;

/// Known instances (set).
pub const INSTANCES: &str = "chat:instances";
/// Users whose last session has left, by the time at which they count as gone (sorted set).
pub const LEAVING: &str = "chat:users:leaving";

/// What a session is (hash): `userId`, `instanceId`, `connectedAt`, and a field for each room that it has open.
pub fn session(session_id: Uuid) -> String {
    format!("chat:session:{session_id}")
}

/// In the hash of a session: that it has the room open.
pub fn room_field(channel_id: ChannelId) -> String {
    format!("{ROOM_FIELD}{channel_id}")
}

/// The room that a field of a session's hash is about, if it is about one.
pub fn room_of_field(field: &str) -> Option<ChannelId> {
    field.strip_prefix(ROOM_FIELD)?.parse().ok()
}

const ROOM_FIELD: &str = "room:";

/// The sessions that have a room open (set).
pub fn room_sessions(channel_id: ChannelId) -> String {
    format!("chat:room:{channel_id}:sessions")
}

/// The users who are known to be here in a room (set).
pub fn room_users(channel_id: ChannelId) -> String {
    format!("chat:room:{channel_id}:users")
}

/// The sessions of a user (set).
pub fn user_sessions(user_id: UserId) -> String {
    format!("chat:user:{user_id}:sessions")
}

/// The rooms in which a user is known to be here (set).
pub fn user_rooms(user_id: UserId) -> String {
    format!("chat:user:{user_id}:rooms")
}

/// When a user who is gone was last here, in milliseconds since 1970 (string).
pub fn user_seen(user_id: UserId) -> String {
    format!("chat:user:{user_id}:seen")
}

/// An instance's lease (string with a TTL). Its value changes with each renewal.
pub fn lease(instance_id: Uuid) -> String {
    format!("chat:instance:{instance_id}")
}

/// The sessions of an instance (set): what is to be reaped when its lease is gone.
pub fn instance_sessions(instance_id: Uuid) -> String {
    format!("chat:instance:{instance_id}:sessions")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "018f4e7a-0000-7000-8000-000000000001";

    #[test]
    fn names_are_frozen() {
        let (id, channel, user) = (ID.parse().unwrap(), ID.parse().unwrap(), ID.parse().unwrap());
        for (key, expected) in [
            (session(id), format!("chat:session:{ID}")),
            (room_sessions(channel), format!("chat:room:{ID}:sessions")),
            (room_users(channel), format!("chat:room:{ID}:users")),
            (user_sessions(user), format!("chat:user:{ID}:sessions")),
            (user_rooms(user), format!("chat:user:{ID}:rooms")),
            (user_seen(user), format!("chat:user:{ID}:seen")),
            (lease(id), format!("chat:instance:{ID}")),
            (instance_sessions(id), format!("chat:instance:{ID}:sessions")),
        ] {
            assert_eq!(key, expected);
        }
    }

    #[test]
    fn rooms_are_read_back_from_fields() {
        let channel = ID.parse().unwrap();
        assert_eq!(room_of_field(&room_field(channel)), Some(channel));
        assert_eq!((room_of_field("userId"), room_of_field("room:x")), (None, None));
    }
}
