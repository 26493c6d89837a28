//! Bounds how many connections a user has, over all instances.
//!
//! A session of an instance that died counts until it is taken out, which takes the time of a lease. So a user who comes
//! back after that with all its connections is not refused because of them: who is over the bound waits until each other
//! instance that has some of them has shown that it lives, by renewing its lease, or has not.

use std::{collections::HashMap, time::Duration};

use chat_domain::UserId;
use chat_events::bus::{
    BusError,
    redis::{Command, Reply},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    Context,
    batch::{BACKSTOP, all, is_one, texts},
    keys, lease,
};

/// How long a session waits for a Redis that does not answer. Then it is served without.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether the other instances have renewed their leases.
const LOOK: Duration = Duration::from_millis(100);

const ADD_IF_FREE: &str = "\
if redis.call('SADD', KEYS[1], ARGV[1]) == 1 and redis.call('SCARD', KEYS[1]) > tonumber(ARGV[2]) then \
redis.call('SREM', KEYS[1], ARGV[1]) return 0 end \
redis.call('EXPIRE', KEYS[1], ARGV[3]) return 1";

/// Takes a session in among those of its user, unless there are too many. False if there are.
pub(super) async fn admit(context: &Context, user_id: UserId, session_id: Uuid) -> Result<bool, BusError> {
    let added = add(context, user_id, session_id, context.limits.connections_per_user);
    let late = |_| BusError::Unavailable("no answer in time".into());
    if tokio::time::timeout(PATIENCE, added).await.map_err(late)?? {
        return Ok(true);
    }
    // Two renewals: one may have come a moment ago.
    let silent_from = Instant::now() + context.limits.lease_ttl.mul_f64(2.5) / lease::RENEWALS;
    let (most, mut first_seen) = (context.limits.connections_per_user, HashMap::new());
    loop {
        let others = others(context, user_id, &mut first_seen).await?;
        if others.alive >= most {
            return Ok(false);
        }
        let is_silent = Instant::now() >= silent_from;
        let doubtful = others.unproven + others.nobodys.len();
        if is_silent || others.alive + doubtful < most {
            let mut dead = others.dead;
            if is_silent {
                dead += others.unproven;
                forget(context, user_id, others.nobodys).await?;
            }
            // The dead are still listed. Others who wait likewise may have been faster: then it is looked again.
            if add(context, user_id, session_id, most + dead).await? {
                return Ok(true);
            }
        }
        sleep(LOOK).await;
    }
}

/// Takes out sessions that nobody has described for so long: whoever admitted them did not live to do it. One that lives
/// all the same is added again when it is written.
async fn forget(context: &Context, user_id: UserId, nobodys: Vec<String>) -> Result<(), BusError> {
    if nobodys.is_empty() {
        return Ok(());
    }
    let forget = Command::new("SREM", keys::user_sessions(user_id)).args(nobodys);
    all(context.redis.execute(vec![forget]).await).map(drop)
}

async fn add(context: &Context, user_id: UserId, session_id: Uuid, most: usize) -> Result<bool, BusError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let add = Command::script(ADD_IF_FREE, keys::user_sessions(user_id)).arg(session_id.to_string());
    let added = all(context.redis.execute(vec![add.arg(most).arg(BACKSTOP)]).await)?;
    Ok(added.first().is_some_and(is_one))
}

/// Other sessions of a user.
struct Others {
    /// Those of which it is known that their instance lives.
    alive: usize,
    /// Those of which it is known that they have ended.
    dead: usize,
    /// Those whose instance has a lease that it has not renewed yet.
    unproven: usize,
    /// Those that are not described: just admitted, or left behind.
    nobodys: Vec<String>,
}

/// Looks at the sessions of a user.
async fn others(
    context: &Context,
    user_id: UserId,
    first_seen: &mut HashMap<Uuid, String>,
) -> Result<Others, BusError> {
    let of_user = keys::user_sessions(user_id);
    // Somewhat more than there should be: some may have come in unseen while Redis was away.
    let most = i64::try_from(context.limits.connections_per_user.saturating_mul(2)).unwrap_or(i64::MAX);
    let reply = all(context.redis.execute(vec![Command::new("SRANDMEMBER", of_user).arg(most)]).await)?.pop();
    let sessions = texts(reply);
    let instances = instances_of(context, &sessions).await?;
    let leases = instances.iter().map(|instance| Command::new("GET", keys::lease(instance.unwrap_or_default())));
    let leases = all(context.redis.execute(leases.collect()).await)?;

    // Those of this instance are known without Redis. The one that wants to come in is among them.
    let own = context.directory.sessions_of(user_id).saturating_sub(1);
    let mut others = Others { alive: own, dead: 0, unproven: 0, nobodys: Vec::new() };
    for ((session, instance), lease) in sessions.into_iter().zip(instances).zip(leases) {
        match (instance, lease.as_string()) {
            (Some(instance), _) if instance == context.instance_id => {
                let lives = Uuid::parse_str(&session).is_ok_and(|id| context.directory.has_session(user_id, id));
                others.dead += usize::from(!lives);
            }
            (Some(instance), Some(lease)) => match first_seen.get(&instance) {
                Some(first) if *first != lease => others.alive += 1,
                _ => {
                    first_seen.insert(instance, lease);
                    others.unproven += 1;
                }
            },
            (Some(_), None) => others.dead += 1,
            (None, _) => others.nobodys.push(session),
        }
    }
    Ok(others)
}

/// Whose each session is; `None` for one that has no hash.
async fn instances_of(context: &Context, sessions: &[String]) -> Result<Vec<Option<Uuid>>, BusError> {
    let ids = sessions.iter().map(|id| Uuid::parse_str(id).unwrap_or_default());
    let commands = ids.map(|id| Command::new("HGET", keys::session(id)).arg("instanceId")).collect();
    let replies = all(context.redis.execute(commands).await)?;
    Ok(replies.into_iter().map(|reply: Reply| Uuid::parse_str(&reply.as_string()?).ok()).collect())
}
