//! What is written about sessions, as commands.
//!
//! Each command is harmless when it is carried out twice, and whatever happens between two of them, what is left can be
//! found and taken out: a session is in its instance's set and has its hash before it is in a room, and is in no room any
//! more before it loses them.

use std::collections::{BTreeMap, BTreeSet};

use chat_domain::{ChannelId, Timestamp, UserId};
use chat_events::bus::{
    BusError,
    redis::{Command, RedisKeys, Reply},
};
use uuid::Uuid;

use super::keys;

/// How long a key lives that nobody renews, in seconds: a platform that was switched off leaves nothing behind.
pub(super) const BACKSTOP: i64 = 24 * 3_600;

/// What becomes of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) session_id: Uuid,
    pub(super) user_id: UserId,
    pub(super) kind: Kind,
    /// Rooms that it is in from now on.
    pub(super) entered: Vec<ChannelId>,
    /// Rooms that it is not in any more.
    pub(super) left: Vec<ChannelId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Redis does not have it, or may not.
    New { connected_at: Timestamp },
    /// Redis has it.
    Changed,
    /// It has ended. Its user counts as gone at this moment, unless there are other sessions then.
    Gone { user_leaves_at: Timestamp },
}

/// The commands for some sessions of one instance, in three steps. Within one a server carries them out in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    first: Vec<Command>,
    second: Vec<Command>,
    third: Vec<Command>,
    /// Places in the second step whose reply says whether the user is new in the room.
    arrivals: Vec<(usize, Arrival)>,
}

/// A user who may be new in a room.
pub(super) type Arrival = (UserId, ChannelId);

impl Batch {
    pub(super) fn new(instance_id: Uuid, updates: &[Update]) -> Self {
        let mut batch = Self::default();
        let of_instance = keys::instance_sessions(instance_id);
        let mut registered = Vec::new();
        let mut gone = Vec::new();
        let mut rooms: BTreeMap<ChannelId, Room> = BTreeMap::new();
        let mut rooms_of_users: BTreeMap<UserId, BTreeSet<ChannelId>> = BTreeMap::new();
        for update in updates {
            let id = update.session_id.to_string();
            match update.kind {
                Kind::New { connected_at } => {
                    batch.describe(instance_id, update, Some(connected_at));
                    registered.push(id.clone());
                }
                Kind::Changed if !update.entered.is_empty() => batch.describe(instance_id, update, None),
                Kind::Changed => {}
                Kind::Gone { user_leaves_at } => {
                    let score = user_leaves_at.as_millis();
                    // Never earlier than another session of the user said.
                    let leave = Command::new("ZADD", keys::LEAVING).arg("GT").arg(score);
                    batch.first.push(leave.arg(update.user_id.to_string()));
                    batch.first.push(Command::new("SREM", keys::user_sessions(update.user_id)).arg(id.clone()));
                    gone.push(id.clone());
                }
            }
            for channel_id in &update.entered {
                let room = rooms.entry(*channel_id).or_default();
                room.entered.push(id.clone());
                room.users.insert(update.user_id);
                rooms_of_users.entry(update.user_id).or_default().insert(*channel_id);
            }
            for channel_id in &update.left {
                rooms.entry(*channel_id).or_default().left.push(id.clone());
            }
            batch.forget(update);
        }
        if !registered.is_empty() {
            // Before all else of them, so that they are found if this instance dies.
            batch.first.insert(0, Command::new("SADD", of_instance.clone()).args(registered));
        }
        for (channel_id, room) in rooms {
            batch.fill(channel_id, room);
        }
        for (user_id, rooms) in rooms_of_users {
            let key = keys::user_rooms(user_id);
            batch.first.push(Command::new("SADD", key.clone()).args(rooms.iter().map(ToString::to_string)));
            batch.first.push(expire(key));
        }
        if !gone.is_empty() {
            batch.first.push(expire(keys::LEAVING));
            batch.third.push(Command::new("SREM", of_instance).args(gone));
        }
        batch
    }

    /// The session's hash, with the rooms that it is about to enter.
    fn describe(&mut self, instance_id: Uuid, update: &Update, connected_at: Option<Timestamp>) {
        let key = keys::session(update.session_id);
        let mut describe = Command::new("HSET", key.clone());
        if let Some(connected_at) = connected_at {
            let of_user = keys::user_sessions(update.user_id);
            self.first.push(Command::new("SADD", of_user.clone()).arg(update.session_id.to_string()));
            self.first.push(expire(of_user));
            describe = describe.arg("userId").arg(update.user_id.to_string());
            describe = describe.arg("instanceId").arg(instance_id.to_string());
            describe = describe.arg("connectedAt").arg(connected_at.to_string());
        }
        for channel_id in &update.entered {
            describe = describe.arg(keys::room_field(*channel_id)).arg("1");
        }
        self.first.push(describe);
        self.first.push(expire(key));
    }

    fn fill(&mut self, channel_id: ChannelId, room: Room) {
        let Room { entered, left, users } = room;
        let key = keys::room_sessions(channel_id);
        if !entered.is_empty() {
            self.second.push(Command::new("SADD", key.clone()).args(entered));
            self.second.push(expire(key.clone()));
        }
        if !left.is_empty() {
            self.second.push(Command::new("SREM", key).args(left));
        }
        if users.is_empty() {
            return;
        }
        let key = keys::room_users(channel_id);
        for user_id in users {
            self.arrivals.push((self.second.len(), (user_id, channel_id)));
            self.second.push(Command::new("SADD", key.clone()).arg(user_id.to_string()));
        }
        self.second.push(expire(key));
    }

    fn forget(&mut self, update: &Update) {
        let key = keys::session(update.session_id);
        if matches!(update.kind, Kind::Gone { .. }) {
            self.third.push(Command::new("DEL", key));
        } else if !update.left.is_empty() {
            self.third.push(Command::new("HDEL", key).args(update.left.iter().map(|room| keys::room_field(*room))));
        }
    }

    /// Writes it, and returns who is new in a room, also if something failed. After an error some of it may be written.
    pub(super) async fn write(self, redis: &RedisKeys) -> (Vec<Arrival>, Result<(), BusError>) {
        if let Err(error) = all(redis.execute(self.first).await) {
            return (Vec::new(), Err(error));
        }
        let replies = redis.execute(self.second).await;
        let is_new = |place: usize| matches!(replies.get(place), Some(Ok(reply)) if is_one(reply));
        let arrived = self.arrivals.into_iter().filter(|(place, _)| is_new(*place)).map(|(_, arrival)| arrival);
        let arrived = arrived.collect();
        let filled = all(replies);
        let outcome = match filled {
            Ok(_) => all(redis.execute(self.third).await).map(drop),
            Err(error) => Err(error),
        };
        (arrived, outcome)
    }
}

#[derive(Debug, Default)]
struct Room {
    entered: Vec<String>,
    left: Vec<String>,
    users: BTreeSet<UserId>,
}

/// Takes members out of an instance's set of which nothing else is known.
pub(super) async fn forget_nameless(
    redis: &RedisKeys,
    instance_id: Uuid,
    nameless: Vec<String>,
) -> Result<(), BusError> {
    if nameless.is_empty() {
        return Ok(());
    }
    let forget = Command::new("SREM", keys::instance_sessions(instance_id)).args(nameless);
    all(redis.execute(vec![forget]).await).map(drop)
}

/// Gives a key its time anew.
pub(super) fn expire(key: impl Into<String>) -> Command {
    Command::new("EXPIRE", key).arg(BACKSTOP)
}

/// All replies, or the first error.
pub(super) fn all(replies: Vec<Result<Reply, BusError>>) -> Result<Vec<Reply>, BusError> {
    replies.into_iter().collect()
}

/// The texts in a reply that is a list of them; none in any other.
pub(super) fn texts(reply: Option<Reply>) -> Vec<String> {
    reply.and_then(|reply| reply.convert().ok()).unwrap_or_default()
}

/// Did the command change something?
pub(super) fn is_one(reply: &Reply) -> bool {
    reply.as_i64() == Some(1)
}
