//! Shows that this instance is alive.

use chat_events::bus::{
    BusError,
    redis::{Command, Reply},
};
use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::{
    Context, Resync,
    batch::{all, expire},
    keys,
};

/// Renewals in the time that a lease lasts. So many may fail in a row, and who looks for a moment sees whether the
/// instance lives.
pub(super) const RENEWALS: u32 = 10;

/// Renews the lease for as long as it is polled. Its value counts the renewals.
pub(super) async fn keep(context: &Context) {
    let mut ticks = tokio::time::interval(context.limits.lease_ttl / RENEWALS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut renewals, mut held) = (0_u64, false);
    loop {
        ticks.tick().await;
        renewals += 1;
        let replies = context.redis.execute(renewal(context, renewals)).await;
        if context.redis.take_interrupted() && held {
            context.changes.resync(Resync::Interruption);
        }
        let renewed = replies.into_iter().next();
        context.set_held(held && matches!(&renewed, Some(Ok(reply)) if !reply.is_null()));
        match renewed {
            Some(Ok(Reply::Null)) if held => {
                warn!("the lease of this instance was gone: Redis lost it, or did not hear of this instance for long");
                context.metrics.lease_losses.inc();
                context.changes.resync(Resync::LeaseLost);
            }
            Some(Ok(_)) => held = true,
            // The writer says that Redis is away.
            Some(Err(_)) | None => {
                context.metrics.up.set(0);
            }
        }
    }
}

/// Makes this instance known, with a lease unless it has one: nothing is written of its sessions before, so that they are
/// found however soon it dies.
pub(super) async fn take(context: &Context) -> Result<(), BusError> {
    let taken = vec![lease(context, 0).arg("NX"), make_known(context)];
    all(context.redis.execute(taken).await).map(drop)
}

fn lease(context: &Context, renewals: u64) -> Command {
    let ttl = i64::try_from(context.limits.lease_ttl.as_millis()).unwrap_or(i64::MAX);
    Command::new("SET", keys::lease(context.instance_id)).arg(renewals.to_string()).arg("PX").arg(ttl)
}

fn make_known(context: &Context) -> Command {
    Command::new("SADD", keys::INSTANCES).arg(context.instance_id.to_string())
}

fn renewal(context: &Context, renewals: u64) -> Vec<Command> {
    vec![
        lease(context, renewals).arg("GET"),
        make_known(context),
        expire(keys::INSTANCES),
        expire(keys::instance_sessions(context.instance_id)),
    ]
}

/// Gives the lease back when nothing is left. Otherwise it lapses, and the others take out what is left.
pub(super) async fn give_back(context: &Context) {
    let left = Command::new("SCARD", keys::instance_sessions(context.instance_id));
    let left = context.redis.execute(vec![left]).await.pop();
    if left.is_some_and(|left| left.is_ok_and(|left| left.as_i64() == Some(0))) {
        let forget = vec![
            Command::new("DEL", keys::lease(context.instance_id)),
            Command::new("SREM", keys::INSTANCES).arg(context.instance_id.to_string()),
        ];
        // If that fails the lease lapses, and the others forget this instance.
        context.redis.execute(forget).await;
    }
}
