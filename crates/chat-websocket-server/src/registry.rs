//! The sessions of all instances: a facade over those that are here and what Redis has of the others.
//!
//! Redis is what all instances share; what is here is known without it. A session is admitted in Redis before it is served,
//! and written there when it is served; while Redis is away it is served all the same, and written when Redis is back. The
//! keys and their types are in [`keys`].
//!
//! - `changes`: what has not been written yet. `writer`: writes it, and everything anew when Redis may have lost something;
//!   `batch` is what is written, `sweep` looks whether Redis still has it.
//! - `lease`: shows that this instance lives. `reaper`: takes out the sessions of instances that do not.
//! - `admission`: bounds the connections of a user. `presence`: tells who comes and goes.

mod admission;
mod batch;
mod changes;
pub mod keys;
mod lease;
mod metrics;
mod presence;
mod reaper;
mod sweep;
mod writer;

use std::{sync::Arc, time::Duration};

use chat_domain::{ChannelId, Clock, Timestamp, UserId};
use chat_events::bus::{
    BusError, Publication, Publisher,
    redis::{Command, RedisKeys},
};
use parking_lot::Mutex;
use rand::RngExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use uuid::Uuid;

pub use changes::{Changes, Resync};
pub use metrics::RegistryMetrics;
pub use presence::Listed;

use crate::{
    hub::{Directory, TooManyConnections},
    session::SessionHandle,
};
use batch::all;
use writer::Writer;

/// Instances reach a Redis that is back within this time of each other.
const REDIS_RETURNS: Duration = Duration::from_secs(1);
/// How long who asks for counts waits for Redis.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// The bounds of the registry.
#[derive(Clone, Copy, Debug)]
pub struct RegistryLimits {
    /// How long an instance counts as alive after its last sign of life.
    pub lease_ttl: Duration,
    /// How long a user counts as here after its last session left.
    pub presence_grace: Duration,
    /// How often it is looked whether Redis still has what was written.
    pub sweep_interval: Duration,
    /// Most connections of a user, over all instances.
    pub connections_per_user: usize,
}

/// What the parts of the registry work with.
struct Context {
    instance_id: Uuid,
    redis: RedisKeys,
    publisher: Arc<dyn Publisher>,
    directory: Arc<Directory>,
    changes: Arc<Changes>,
    clock: Arc<dyn Clock>,
    metrics: RegistryMetrics,
    limits: RegistryLimits,
    /// Since when the lease is held without a gap.
    held_since: Mutex<Option<Instant>>,
    /// What could not be told of who came and went.
    untold: Mutex<Vec<Publication>>,
}

impl Context {
    /// Takes note whether the lease was renewed in time.
    fn set_held(&self, held: bool) {
        let mut since = self.held_since.lock();
        *since = if held { since.or_else(|| Some(Instant::now())) } else { None };
    }

    /// Is this instance in a position to say that others are dead? After Redis was away each needs a moment to show itself.
    fn may_judge(&self) -> bool {
        let settled = 2 * self.limits.lease_ttl / lease::RENEWALS + REDIS_RETURNS;
        self.held_since.lock().is_some_and(|since| since.elapsed() >= settled)
    }

    fn grace_millis(&self) -> i64 {
        i64::try_from(self.limits.presence_grace.as_millis()).unwrap_or(i64::MAX)
    }

    /// When a user whose last session leaves now counts as gone.
    fn user_leaves_at(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now().as_millis().saturating_add(self.grace_millis()))
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// On this instance.
    pub local: usize,
    /// On all instances; `None` while Redis does not say.
    pub cluster: Option<u64>,
}

/// The sessions of all instances.
pub struct Registry {
    context: Arc<Context>,
}

impl Registry {
    /// The registry of an instance. It is kept up as long as [`Self::run`] is polled.
    pub fn new(
        instance_id: Uuid,
        redis: RedisKeys,
        publisher: Arc<dyn Publisher>,
        directory: Arc<Directory>,
        clock: Arc<dyn Clock>,
        limits: RegistryLimits,
    ) -> Self {
        let (changes, metrics) = (Arc::default(), RegistryMetrics::default());
        Self {
            context: Arc::new(Context {
                instance_id,
                redis,
                publisher,
                directory,
                changes,
                clock,
                metrics,
                limits,
                held_since: Mutex::default(),
                untold: Mutex::default(),
            }),
        }
    }

    /// What sessions tell of themselves.
    pub fn changes(&self) -> &Arc<Changes> {
        &self.context.changes
    }

    /// What the registry counts.
    pub fn metrics(&self) -> &RegistryMetrics {
        &self.context.metrics
    }

    /// Keeps Redis up with what is here, and this instance alive in the eyes of the others, until `stop`. Then it writes who
    /// has left and gives its lease back.
    pub async fn run(&self, stop: CancellationToken) {
        let context = &*self.context;
        let mut writer = Writer::new(Arc::clone(&self.context));
        let others = async { tokio::join!(lease::keep(context), reaper::run(context), presence::run(context)) };
        tokio::join!(stop.run_until_cancelled(others), writer.run(&stop));
        lease::give_back(context).await;
        context.redis.close().await;
    }

    /// Takes a session in, if its user may have one more on all instances together. While Redis does not answer, every
    /// session is taken in.
    pub async fn admit(&self, session: &Arc<SessionHandle>) -> Result<(), TooManyConnections> {
        let admitted = match admission::admit(&self.context, session.user_id, session.id).await {
            Ok(false) => return Err(TooManyConnections),
            Ok(true) => true,
            Err(error) => {
                debug!(error = %error, "a session is served without being admitted by Redis");
                false
            }
        };
        session.register(admitted);
        Ok(())
    }

    /// The sessions of this instance, and of all.
    pub async fn sessions(&self) -> Counts {
        let count = async {
            let instances = reaper::instances(&self.context).await?;
            let counts = instances.iter().map(|id| keys::instance_sessions(*id)).collect();
            Ok(self.cardinalities(counts).await?.into_iter().sum())
        };
        Counts { local: self.context.directory.session_count(), cluster: in_time(count).await }
    }

    /// The sessions of a user on this instance, and on all.
    pub async fn sessions_of(&self, user_id: UserId) -> Counts {
        let count = async { Ok(self.cardinalities(vec![keys::user_sessions(user_id)]).await?.into_iter().sum()) };
        Counts { local: self.context.directory.sessions_of(user_id), cluster: in_time(count).await }
    }

    /// How many sessions have each of these rooms open, over all instances; `None` while Redis does not say.
    pub async fn sessions_in(&self, rooms: &[ChannelId]) -> Option<Vec<u64>> {
        in_time(self.cardinalities(rooms.iter().map(|id| keys::room_sessions(*id)).collect())).await
    }

    /// Who is here in a room, at most so many; `None` while Redis does not say.
    pub async fn listed(&self, channel_id: ChannelId, most: usize) -> Option<Listed> {
        in_time(presence::listed(&self.context, channel_id, most)).await
    }

    /// Takes note that a user was removed from a channel: it is not listed there any more.
    pub fn withdraw(&self, user_id: UserId, channel_id: ChannelId) {
        self.context.changes.withdraw(user_id, channel_id);
    }

    async fn cardinalities(&self, keys: Vec<String>) -> Result<Vec<u64>, BusError> {
        let commands = keys.into_iter().map(|key| Command::new("SCARD", key)).collect();
        let replies = all(self.context.redis.execute(commands).await)?;
        Ok(replies.iter().map(|reply| reply.as_u64().unwrap_or(0)).collect())
    }
}

async fn in_time<T>(read: impl Future<Output = Result<T, BusError>>) -> Option<T> {
    match tokio::time::timeout(READ_TIMEOUT, read).await {
        Ok(outcome) => outcome.inspect_err(|error| debug!(error = %error, "the registry cannot be read")).ok(),
        Err(_) => None,
    }
}

/// About this long: instances that started together do not look together.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(0.8..1.2))
}
