//! Who is here: told when a user's first session comes, and when the last one has been gone for a grace.
//!
//! A room lists the users of whom it was told that they are here, and a user the rooms that were told. Whoever adds a user
//! to a room's list, or takes it off, tells of it, so that each is told once, whichever instance it happens on.

use std::{collections::BTreeMap, time::Duration};

use chat_domain::{ChannelId, Timestamp, UserId};
use chat_events::{
    PresenceSignal, Topic, UserPresence,
    bus::{BusError, Publication, redis::Command},
};
use tokio::time::sleep;
use tracing::debug;
use uuid::Uuid;

use super::{
    Context,
    batch::{Arrival, all, is_one, texts},
    jittered, keys,
};

/// How often it is looked whose grace is over.
const INTERVAL: Duration = Duration::from_millis(500);
/// Most rooms that are kept to be told of once more.
const UNTOLD: usize = 1_024;
/// Members of a user's set of sessions that are looked at whether they are described.
const SESSIONS: i64 = 64;
/// Users in one step.
const USERS_PER_STEP: usize = 128;
/// How long it is kept when a user was last here, in seconds: 90 days.
const SEEN_TTL: i64 = 90 * 24 * 3_600;

/// Tells of users who are new in rooms.
pub(super) async fn announce_arrivals(context: &Context, arrivals: Vec<Arrival>) {
    let news = arrivals.into_iter().map(|(user_id, channel_id)| (channel_id, UserPresence::online(user_id)));
    announce(context, news.collect()).await;
}

async fn announce(context: &Context, news: Vec<(ChannelId, UserPresence)>) {
    let mut by_room: BTreeMap<ChannelId, Vec<UserPresence>> = BTreeMap::new();
    for (channel_id, user) in news {
        context.metrics.of_presence(user.status).inc();
        by_room.entry(channel_id).or_default().push(user);
    }
    let publication = |(channel_id, users)| Publication {
        topic: Topic::Presence(channel_id),
        payload: PresenceSignal { channel_id, users, online: None }.to_json(),
    };
    tell(context, by_room.into_iter().map(publication).collect()).await;
}

/// Publishes, and keeps what did not go out for the next time.
async fn tell(context: &Context, news: Vec<Publication>) {
    let mut batch = std::mem::take(&mut *context.untold.lock());
    batch.extend(news);
    if batch.is_empty() {
        return;
    }
    if let Err(error) = context.publisher.publish(batch.clone()).await {
        debug!(error = %error, "who came and went could not be told");
        let mut untold = context.untold.lock();
        batch.append(&mut untold);
        // The oldest go: who watches is told the whole again after a break.
        batch.drain(..batch.len().saturating_sub(UNTOLD));
        *untold = batch;
    }
}

/// Tells of users whose grace is over, for as long as it is polled.
pub(super) async fn run(context: &Context) {
    loop {
        sleep(jittered(INTERVAL)).await;
        tell(context, Vec::new()).await;
        loop {
            match tell_of_departures(context).await {
                // There may be more.
                Ok(USERS_PER_STEP..) => {}
                Ok(_) => break,
                Err(error) => {
                    debug!(error = %error, "who has left cannot be found out");
                    break;
                }
            }
        }
    }
}

/// One step. Returns how many users' graces were over.
async fn tell_of_departures(context: &Context) -> Result<usize, BusError> {
    let due = due(context).await?;
    if due.is_empty() {
        return Ok(0);
    }
    forget_undescribed(context, &due).await?;
    let gone = without_sessions(context, &due).await?;
    let listed = rooms_of(context, &gone).await?;
    take_off(context, &gone, &listed).await?;
    // Who came back meanwhile may have found itself listed still, and told nobody.
    let still_gone = without_sessions(context, &gone).await?;
    let is_back = |user_id: UserId| !still_gone.iter().any(|leaver| leaver.user_id == user_id);
    let back = listed.into_iter().filter(|(leaver, _)| is_back(leaver.user_id));
    put_back(context, back.map(|(leaver, channel_id)| (leaver.user_id, channel_id)).collect()).await?;
    all(context.redis.execute(due.iter().map(Leaver::forget).collect()).await)?;
    Ok(due.len())
}

/// A user whose last session may have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaver {
    user_id: UserId,
    /// When its grace is over.
    due_at: i64,
}

/// Who leaves once more meanwhile is due again later.
const FORGET_UNLESS_RENEWED: &str = "\
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1])) == tonumber(ARGV[2]) then \
return redis.call('ZREM', KEYS[1], ARGV[1]) end return 0";

impl Leaver {
    fn forget(&self) -> Command {
        Command::script(FORGET_UNLESS_RENEWED, keys::LEAVING).arg(self.user_id.to_string()).arg(self.due_at)
    }
}

async fn due(context: &Context) -> Result<Vec<Leaver>, BusError> {
    let (now, limit) = (context.clock.now().as_millis(), i64::try_from(USERS_PER_STEP).unwrap_or(i64::MAX));
    let range = Command::new("ZRANGEBYSCORE", keys::LEAVING).arg("-inf").arg(now).arg("WITHSCORES");
    let reply = all(context.redis.execute(vec![range.arg("LIMIT").arg(0).arg(limit)]).await)?.pop();
    let pairs: Vec<(String, f64)> = reply.and_then(|reply| reply.convert().ok()).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "float to integer casts saturate")]
    let leaver =
        |(user_id, due_at): (String, f64)| Some(Leaver { user_id: user_id.parse().ok()?, due_at: due_at as i64 });
    Ok(pairs.into_iter().filter_map(leaver).collect())
}

async fn without_sessions(context: &Context, leavers: &[Leaver]) -> Result<Vec<Leaver>, BusError> {
    let counts = leavers.iter().map(|leaver| Command::new("SCARD", keys::user_sessions(leaver.user_id))).collect();
    let counts = all(context.redis.execute(counts).await)?;
    Ok(leavers.iter().zip(counts).filter(|(_, count)| count.as_u64() == Some(0)).map(|(leaver, _)| *leaver).collect())
}

/// Takes out what is listed as a session of these users and is none: one that was admitted by an instance that died
/// before it wrote anything else of it. One that was admitted just now is added again when it is written.
async fn forget_undescribed(context: &Context, leavers: &[Leaver]) -> Result<(), BusError> {
    let some = |leaver: &Leaver| Command::new("SRANDMEMBER", keys::user_sessions(leaver.user_id)).arg(SESSIONS);
    let replies = all(context.redis.execute(leavers.iter().map(some).collect()).await)?;
    let mut members = Vec::new();
    for (leaver, reply) in leavers.iter().zip(replies) {
        let ids = texts(Some(reply));
        members.extend(ids.into_iter().map(|id| (leaver.user_id, id)));
    }
    let described =
        members.iter().map(|(_, id)| Command::new("EXISTS", keys::session(Uuid::parse_str(id).unwrap_or_default())));
    let described = all(context.redis.execute(described.collect()).await)?;
    let undescribed = members.into_iter().zip(described).filter(|(_, described)| !is_one(described));
    let forget = undescribed.map(|((user_id, id), _)| Command::new("SREM", keys::user_sessions(user_id)).arg(id));
    all(context.redis.execute(forget.collect()).await).map(drop)
}

/// The rooms in which each of these users is listed.
async fn rooms_of(context: &Context, leavers: &[Leaver]) -> Result<Vec<(Leaver, ChannelId)>, BusError> {
    let rooms = leavers.iter().map(|leaver| Command::new("SMEMBERS", keys::user_rooms(leaver.user_id))).collect();
    let mut listed = Vec::new();
    for (leaver, rooms) in leavers.iter().zip(all(context.redis.execute(rooms).await)?) {
        let rooms = texts(Some(rooms));
        listed.extend(rooms.iter().filter_map(|id| Some((*leaver, id.parse().ok()?))));
    }
    Ok(listed)
}

/// Takes users off the lists of these rooms, and tells of whom it was that did so.
async fn take_off(context: &Context, gone: &[Leaver], listed: &[(Leaver, ChannelId)]) -> Result<(), BusError> {
    let last_seen = |leaver: &Leaver| leaver.due_at.saturating_sub(context.grace_millis());
    let take = listed.iter().map(|(leaver, channel_id)| {
        Command::new("SREM", keys::room_users(*channel_id)).arg(leaver.user_id.to_string())
    });
    let replies = context.redis.execute(take.collect()).await;
    // What was done is told, also if not all could be.
    let taken = listed.iter().zip(&replies).filter(|(_, reply)| reply.as_ref().is_ok_and(is_one));
    let news = taken.map(|((leaver, channel_id), _)| {
        (*channel_id, UserPresence::offline(leaver.user_id, Timestamp::from_millis(last_seen(leaver))))
    });
    announce(context, news.collect()).await;
    all(replies)?;
    let unlist = listed
        .iter()
        .map(|(leaver, channel_id)| Command::new("SREM", keys::user_rooms(leaver.user_id)).arg(channel_id.to_string()));
    let seen = gone.iter().map(|leaver| {
        Command::new("SET", keys::user_seen(leaver.user_id)).arg(last_seen(leaver)).arg("EX").arg(SEEN_TTL)
    });
    all(context.redis.execute(unlist.chain(seen).collect()).await).map(drop)
}

/// Lists users again who were taken off too soon, and tells of all of them: the last that is told has to be right.
async fn put_back(context: &Context, back: Vec<Arrival>) -> Result<(), BusError> {
    let of_users = back
        .iter()
        .map(|(user_id, channel_id)| Command::new("SADD", keys::user_rooms(*user_id)).arg(channel_id.to_string()));
    let of_rooms = back
        .iter()
        .map(|(user_id, channel_id)| Command::new("SADD", keys::room_users(*channel_id)).arg(user_id.to_string()));
    all(context.redis.execute(of_users.chain(of_rooms).collect()).await)?;
    announce_arrivals(context, back).await;
    Ok(())
}

/// How many users are here in a room, and some of them.
pub(super) async fn listed(context: &Context, channel_id: ChannelId, most: usize) -> Result<Listed, BusError> {
    let key = keys::room_users(channel_id);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let commands = vec![Command::new("SCARD", key.clone()), Command::new("SRANDMEMBER", key).arg(most)];
    let mut replies = all(context.redis.execute(commands).await)?;
    let users = texts(replies.pop());
    let online = replies.pop().and_then(|reply| reply.as_u64()).unwrap_or(0);
    Ok(Listed { online, users: users.iter().filter_map(|id| id.parse().ok()).collect() })
}

/// Who is here in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// How many.
    pub online: u64,
    /// All of them, or some if they are very many.
    pub users: Vec<UserId>,
}
