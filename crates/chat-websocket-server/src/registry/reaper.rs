//! Takes out the sessions of instances that died.
//!
//! Any instance does it, also several at once: each takes some at random until none is left, and what another one has
//! taken out already is harmless to take out again.

use std::time::Duration;

use chat_domain::Timestamp;
use chat_events::bus::{BusError, redis::Command};
use rand::seq::IndexedRandom;
use tokio::time::sleep;
use tracing::{debug, info};
use uuid::Uuid;

use super::{
    Context,
    batch::{Batch, Kind, Update, all, forget_nameless, is_one, texts},
    jittered, keys,
    writer::described,
};

/// How often the other instances are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many of them, chosen at random. With so many, one that died is missed by all the others in one look out of a
/// million, however many there are.
const INSTANCES: usize = 16;
/// Sessions in one step.
const SESSIONS_PER_STEP: i64 = 128;

/// Looks at the other instances for as long as it is polled.
pub(super) async fn run(context: &Context) {
    loop {
        // Instances that started together do not look together.
        sleep(jittered(INTERVAL)).await;
        if context.may_judge()
            && let Err(error) = look(context).await
        {
            debug!(error = %error, "other instances cannot be looked at");
        }
    }
}

async fn look(context: &Context) -> Result<(), BusError> {
    for instance_id in dead(context).await? {
        reap(context, instance_id).await?;
    }
    Ok(())
}

/// Those of some other instances that have no lease.
async fn dead(context: &Context) -> Result<Vec<Uuid>, BusError> {
    let known = instances(context).await?;
    let others: Vec<_> = known.into_iter().filter(|id| *id != context.instance_id).collect();
    let some: Vec<_> = others.sample(&mut rand::rng(), INSTANCES).copied().collect();
    let leases = some.iter().map(|id| Command::new("EXISTS", keys::lease(*id))).collect();
    let alive = all(context.redis.execute(leases).await)?;
    Ok(some.into_iter().zip(alive).filter(|(_, alive)| !is_one(alive)).map(|(id, _)| id).collect())
}

/// The known instances.
pub(super) async fn instances(context: &Context) -> Result<Vec<Uuid>, BusError> {
    let known = all(context.redis.execute(vec![Command::new("SMEMBERS", keys::INSTANCES)]).await)?.pop();
    let known = texts(known);
    Ok(known.iter().filter_map(|id| Uuid::parse_str(id).ok()).collect())
}

async fn reap(context: &Context, instance_id: Uuid) -> Result<(), BusError> {
    let of_instance = keys::instance_sessions(instance_id);
    let mut reaped = 0;
    loop {
        // One that was only silent has its lease again, and writes everything anew.
        let commands = vec![
            Command::new("EXISTS", keys::lease(instance_id)),
            Command::new("SRANDMEMBER", of_instance.clone()).arg(SESSIONS_PER_STEP),
        ];
        let mut replies = all(context.redis.execute(commands).await)?;
        let members = texts(replies.pop());
        if replies.pop().is_some_and(|lease| is_one(&lease)) {
            return Ok(());
        }
        if members.is_empty() {
            break;
        }
        take_out(context, instance_id, &members).await?;
        context.metrics.reaped_sessions.inc_by(members.len() as u64);
        reaped += members.len();
    }
    let forget = Command::new("SREM", keys::INSTANCES).arg(instance_id.to_string());
    all(context.redis.execute(vec![forget]).await)?;
    info!(instance.id = %instance_id, registry.reaped = reaped, "an instance is gone, its sessions were taken out");
    Ok(())
}

async fn take_out(context: &Context, instance_id: Uuid, members: &[String]) -> Result<(), BusError> {
    let kind = Kind::Gone { user_leaves_at: died_at(context) };
    let ids: Vec<_> = members.iter().map(|id| Uuid::parse_str(id).unwrap_or_default()).collect();
    let (mut updates, mut nameless) = (Vec::with_capacity(ids.len()), Vec::new());
    for ((member, session_id), described) in members.iter().zip(&ids).zip(described(context, &ids).await?) {
        match described {
            Some(session) => updates.push(Update {
                session_id: *session_id,
                user_id: session.user_id,
                kind,
                entered: Vec::new(),
                left: session.rooms.into_iter().collect(),
            }),
            None => nameless.push(member.clone()),
        }
    }
    forget_nameless(&context.redis, instance_id, nameless).await?;
    let (_, outcome) = Batch::new(instance_id, &updates).write(&context.redis).await;
    outcome
}

/// When the users of a dead instance count as gone: it died at least the time of a lease ago, and their grace began then.
fn died_at(context: &Context) -> Timestamp {
    let lease = i64::try_from(context.limits.lease_ttl.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(context.user_leaves_at().as_millis().saturating_sub(lease))
}
