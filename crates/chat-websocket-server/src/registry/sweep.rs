//! A look whether Redis still has what was written, with the same few commands however many sessions there are: the rest is
//! looked at the next times. What is missing is written, what was looked at gets its time anew, and whoever finds something
//! has everything written anew.

use std::{collections::HashMap, time::Duration};

use chat_domain::{ChannelId, UserId};
use chat_events::bus::{BusError, redis::Command};
use rand::seq::IteratorRandom;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use super::{
    Context,
    batch::{all, expire, is_one, texts},
    keys,
    writer::Written,
};

/// Sessions that a look is at. With a look each 5 s all of 20 000 sessions are seen in under two hours, or in six if each has
/// fifty rooms: well before the backstop.
const SESSIONS: usize = 16;
/// Rooms that a look is at, but for the last session's.
const ROOMS: usize = 256;
/// Members of a set that are looked at whether they belong there.
const MEMBERS: i64 = 16;

/// Whose turn it is.
pub(super) struct Sweep {
    ticks: Interval,
    /// Sessions that are still to be looked at in this round.
    round: Vec<Uuid>,
    /// Sessions that some users have by their own set, but that nobody describes. One that is so twice does not exist: between
    /// being let in and being described there is less than the time between two looks.
    ghosts: Vec<(UserId, Uuid)>,
}

impl Sweep {
    pub(super) fn new(interval: Duration) -> Self {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, round: Vec::new(), ghosts: Vec::new() }
    }

    /// Waits for the next look.
    pub(super) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// Looks, and returns how many entries were missing or left over.
    pub(super) async fn look(&mut self, context: &Context, written: &HashMap<Uuid, Written>) -> Result<u64, BusError> {
        let mut drift = self.look_at_own(context, written).await?;
        drift += look_for_strangers(context, written).await?;
        if let Some(channel_id) = some_room(written) {
            drift += look_at_room(context, written, channel_id).await?;
            let users = listed(context, channel_id).await?;
            look_at_absent(context, channel_id, &users).await?;
            drift += self.look_for_ghosts(context, &users).await?;
        }
        Ok(drift)
    }

    /// Are the sessions whose turn it is where they should be?
    async fn look_at_own(&mut self, context: &Context, written: &HashMap<Uuid, Written>) -> Result<u64, BusError> {
        if self.round.is_empty() {
            self.round = written.keys().copied().collect();
        }
        let (mut commands, mut expected, mut rooms) = (Vec::new(), Vec::new(), 0);
        let mut look = |command, reply: Option<i64>| {
            commands.push(command);
            expected.push(reply);
        };
        for _ in 0..SESSIONS {
            if rooms >= ROOMS {
                break;
            }
            let Some(session_id) = self.round.pop() else { break };
            let Some(session) = written.get(&session_id) else { continue };
            let id = session_id.to_string();
            look(expire(keys::session(session_id)), Some(1));
            look(Command::new("SADD", keys::user_sessions(session.user_id)).arg(id.clone()), Some(0));
            look(expire(keys::user_sessions(session.user_id)), None);
            look(expire(keys::user_rooms(session.user_id)), None);
            for channel_id in &session.rooms {
                rooms += 1;
                look(Command::new("SADD", keys::room_sessions(*channel_id)).arg(id.clone()), Some(0));
                look(expire(keys::room_sessions(*channel_id)), None);
                let user_id = session.user_id.to_string();
                look(Command::new("SADD", keys::room_users(*channel_id)).arg(user_id), Some(0));
                look(expire(keys::room_users(*channel_id)), None);
            }
        }
        let replies = all(context.redis.execute(commands).await)?;
        let wrong = replies
            .iter()
            .zip(&expected)
            .filter(|(reply, expected)| expected.is_some_and(|expected| reply.as_i64() != Some(expected)));
        Ok(wrong.count() as u64)
    }

    /// Do these users have sessions that nobody describes? They were let in by a command that came late, when they had ended
    /// already, or by an instance that died then. What was found the last time is taken out if it still is so.
    async fn look_for_ghosts(&mut self, context: &Context, users: &[UserId]) -> Result<u64, BusError> {
        let suspects = std::mem::take(&mut self.ghosts);
        let ghosts = undescribed(context, suspects).await?;
        let take_out =
            |(user, id): &(UserId, Uuid)| Command::new("SREM", keys::user_sessions(*user)).arg(id.to_string());
        let taken = all(context.redis.execute(ghosts.iter().map(take_out).collect()).await)?;

        let some = |user: &UserId| Command::new("SRANDMEMBER", keys::user_sessions(*user)).arg(MEMBERS);
        let sessions = all(context.redis.execute(users.iter().map(some).collect()).await)?;
        let of_each = users.iter().zip(sessions);
        let ids = of_each.flat_map(|(user, ids)| texts(Some(ids)).into_iter().map(|id| (*user, id)));
        let looked_at = ids.filter_map(|(user, id)| Some((user, Uuid::parse_str(&id).ok()?))).collect();
        self.ghosts = undescribed(context, looked_at).await?;
        Ok(taken.iter().filter(|taken| is_one(taken)).count() as u64)
    }
}

/// Those of these sessions that have no hash.
async fn undescribed(context: &Context, sessions: Vec<(UserId, Uuid)>) -> Result<Vec<(UserId, Uuid)>, BusError> {
    let exists = sessions.iter().map(|(_, id)| Command::new("EXISTS", keys::session(*id))).collect();
    let exist = all(context.redis.execute(exists).await)?;
    Ok(sessions.into_iter().zip(exist).filter(|(_, exists)| !is_one(exists)).map(|(session, _)| session).collect())
}

/// Does Redis have as many sessions of this instance as it should, and none that it should not?
async fn look_for_strangers(context: &Context, written: &HashMap<Uuid, Written>) -> Result<u64, BusError> {
    let of_instance = keys::instance_sessions(context.instance_id);
    let count = Command::new("SCARD", of_instance.clone());
    let some = Command::new("SRANDMEMBER", of_instance).arg(MEMBERS);
    let mut replies = all(context.redis.execute(vec![count, some]).await)?;
    let some = texts(replies.pop());
    let count = replies.pop().and_then(|reply| reply.as_u64()).unwrap_or(0);
    let is_own = |id: &String| Uuid::parse_str(id).is_ok_and(|id| written.contains_key(&id));
    let strangers = some.iter().filter(|id| !is_own(id)).count() as u64;
    Ok(strangers.max(count.abs_diff(written.len() as u64)))
}

/// Are there sessions in a room that nobody has any more? They are taken out.
async fn look_at_room(
    context: &Context,
    written: &HashMap<Uuid, Written>,
    channel_id: ChannelId,
) -> Result<u64, BusError> {
    let key = keys::room_sessions(channel_id);
    let some = Command::new("SRANDMEMBER", key.clone()).arg(MEMBERS);
    let reply = all(context.redis.execute(vec![some]).await)?.pop();
    let some = texts(reply);
    let ids: Vec<Uuid> = some.iter().filter_map(|id| Uuid::parse_str(id).ok()).collect();
    let has_room = |id: &Uuid| Command::new("HEXISTS", keys::session(*id)).arg(keys::room_field(channel_id));
    let listed = all(context.redis.execute(ids.iter().map(has_room).collect()).await)?;
    let is_wrong = |id: &Uuid| written.get(id).is_none_or(|session| !session.rooms.contains(&channel_id));
    let wrong = ids.iter().zip(&listed).filter(|(id, listed)| !is_one(listed) && is_wrong(id));
    let wrong: Vec<_> = wrong.map(|(id, _)| id.to_string()).collect();
    if wrong.is_empty() {
        return Ok(0);
    }
    // One that left just now has taken itself out.
    let taken = all(context.redis.execute(vec![Command::new("SREM", key).args(wrong)]).await)?.pop();
    Ok(taken.and_then(|taken| taken.as_u64()).unwrap_or(0))
}

/// Some of the users who are listed in a room.
async fn listed(context: &Context, channel_id: ChannelId) -> Result<Vec<UserId>, BusError> {
    let some = Command::new("SRANDMEMBER", keys::room_users(channel_id)).arg(MEMBERS);
    let reply = all(context.redis.execute(vec![some]).await)?.pop();
    Ok(texts(reply).iter().filter_map(|id| id.parse().ok()).collect())
}

/// Are there users listed in a room who have no session? They leave, as if the last one had just ended.
async fn look_at_absent(context: &Context, channel_id: ChannelId, users: &[UserId]) -> Result<(), BusError> {
    let counts = users.iter().map(|user_id| Command::new("SCARD", keys::user_sessions(*user_id))).collect();
    let counts = all(context.redis.execute(counts).await)?;
    let absent = users.iter().zip(counts).filter(|(_, count)| count.as_u64() == Some(0));
    let leave = absent.flat_map(|(user_id, _)| {
        let leave = Command::new("ZADD", keys::LEAVING).arg("NX").arg(context.user_leaves_at().as_millis());
        let listed = Command::new("SADD", keys::user_rooms(*user_id)).arg(channel_id.to_string());
        [listed, expire(keys::user_rooms(*user_id)), leave.arg(user_id.to_string()), expire(keys::LEAVING)]
    });
    all(context.redis.execute(leave.collect()).await).map(drop)
}

fn some_room(written: &HashMap<Uuid, Written>) -> Option<ChannelId> {
    let mut random = rand::rng();
    let session = written.values().filter(|session| !session.rooms.is_empty()).choose(&mut random)?;
    session.rooms.iter().choose(&mut random).copied()
}
