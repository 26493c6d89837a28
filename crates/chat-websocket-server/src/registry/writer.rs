//! Writes what changed, and everything anew when Redis may have lost something.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use chat_domain::{ChannelId, UserId};
use chat_events::bus::{
    BusError,
    redis::{Command, Reply},
};
use futures_util::future::OptionFuture;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::{
    Context, Resync,
    batch::{Arrival, Batch, Kind, Update, all, forget_nameless},
    changes::WITHDRAWALS,
    keys, lease, presence,
    sweep::Sweep,
};
use crate::session::{Registration, SessionHandle};

/// Most sessions in one step: many enough that those of one room share commands. What is published does not wait for all
/// of them: Redis gets them in pipelines, and on other connections.
const SESSIONS_PER_STEP: usize = 512;
/// How long changes are collected after something was written: a session that has just come opens its channels one after the
/// other, and thousands that come at once need the processor more than the registry does.
const REST: Duration = Duration::from_millis(250);
/// How long to wait after a failure, at first; doubled each time.
const BACKOFF: Duration = Duration::from_millis(250);
/// The longest such wait.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// Who took this instance for dead may still be taking out its sessions for so long: everything is written once more.
const REAPERS_FINISH: Duration = Duration::from_secs(5);

/// What Redis is believed to have of one session.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) user_id: UserId,
    pub(super) rooms: BTreeSet<ChannelId>,
}

/// Owns the picture of what Redis has of this instance.
pub(super) struct Writer {
    context: Arc<Context>,
    written: HashMap<Uuid, Written>,
    /// Everything is to be written anew, for this reason and not before this moment.
    resync: Option<(Resync, Instant)>,
    /// Has this instance taken a lease since it started?
    leased: bool,
    /// Users who may not be listed in a room any more, as far as that is still to be written. Bounded like what waits.
    withdrawn: Vec<Arrival>,
    backoff: Duration,
    sweep: Sweep,
}

impl Writer {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let sweep = Sweep::new(context.limits.sweep_interval);
        // The first connection, too, is made anew.
        let resync = Some((Resync::Interruption, Instant::now()));
        let (written, withdrawn) = (HashMap::new(), Vec::new());
        Self { context, written, resync, leased: false, withdrawn, backoff: BACKOFF, sweep }
    }

    /// Writes until `stop`, and then what is left. What is being written is written to its end.
    pub(super) async fn run(&mut self, stop: &CancellationToken) {
        let context = Arc::clone(&self.context);
        let mut rests_until = Instant::now();
        loop {
            let resync_at = self.resync.map(|(_, at)| sleep_until(at));
            tokio::select! {
                () = stop.cancelled() => break,
                () = async {
                    sleep_until(rests_until).await;
                    context.changes.filled().await;
                } => {
                    self.write_changes().await;
                    rests_until = Instant::now() + REST;
                }
                Some(()) = OptionFuture::from(resync_at) => self.write_changes().await,
                () = self.sweep.due() => self.look().await,
            }
        }
        if let Some((_, at)) = &mut self.resync {
            *at = Instant::now();
        }
        self.write_changes().await;
    }

    /// Writes what waits. While everything is to be written anew, what waits is a part of that.
    async fn write_changes(&mut self) {
        let waiting = self.context.changes.take();
        if let Some(reason) = waiting.resync {
            self.want_resync(reason);
        }
        self.withdrawn.extend(waiting.withdrawn);
        self.withdrawn.truncate(WITHDRAWALS);
        let now = Instant::now();
        match self.resync {
            // Redis is well, and what waits need not.
            Some((Resync::Precaution, at)) if at > now => self.write_sessions(&waiting.sessions).await,
            Some((_, at)) if at > now => self.note_admitted(&waiting.sessions),
            Some((reason, _)) => {
                self.note_admitted(&waiting.sessions);
                self.resync(reason).await;
            }
            None => self.write_sessions(&waiting.sessions).await,
        }
        if self.resync.is_none_or(|(reason, _)| reason == Resync::Precaution) {
            self.withdraw().await;
        }
        self.count();
    }

    async fn write_sessions(&mut self, sessions: &[Arc<SessionHandle>]) {
        for some in sessions.chunks(SESSIONS_PER_STEP) {
            let updates: Vec<_> = some.iter().filter_map(|session| self.update(session)).collect();
            if let Err(error) = self.write(&updates).await {
                self.note_admitted(sessions);
                return self.failed(Resync::Failure, &error);
            }
        }
    }

    /// Redis has something of these sessions, and they may end before anything else is written.
    fn note_admitted(&mut self, sessions: &[Arc<SessionHandle>]) {
        for session in sessions.iter().filter(|session| session.is_admitted()) {
            let fresh = || Written { user_id: session.user_id, rooms: BTreeSet::new() };
            self.written.entry(session.id).or_insert_with(fresh);
        }
    }

    /// What has to be written about a session.
    fn update(&self, session: &SessionHandle) -> Option<Update> {
        let written = self.written.get(&session.id);
        let (session_id, user_id) = (session.id, session.user_id);
        match session.registration() {
            Registration::Arriving => None,
            Registration::Gone => {
                let left = written.map(|written| written.rooms.iter().copied().collect()).unwrap_or_default();
                let kind = Kind::Gone { user_leaves_at: self.context.user_leaves_at() };
                Some(Update { session_id, user_id, kind, entered: Vec::new(), left })
            }
            Registration::Present(rooms) => {
                let Some(written) = written else {
                    let kind = Kind::New { connected_at: session.connected_at };
                    return Some(Update { session_id, user_id, kind, entered: rooms, left: Vec::new() });
                };
                let left = written.rooms.iter().filter(|room| !rooms.contains(room)).copied().collect::<Vec<_>>();
                let entered: Vec<_> = rooms.into_iter().filter(|room| !written.rooms.contains(room)).collect();
                let changed = !entered.is_empty() || !left.is_empty();
                changed.then_some(Update { session_id, user_id, kind: Kind::Changed, entered, left })
            }
        }
    }

    /// Writes updates and tells of who is new in a room. After an error, what may be in Redis counts as being there.
    async fn write(&mut self, updates: &[Update]) -> Result<(), BusError> {
        if updates.is_empty() {
            return Ok(());
        }
        let (arrived, outcome) = Batch::new(self.context.instance_id, updates).write(&self.context.redis).await;
        for update in updates {
            match (update.kind, &outcome) {
                (Kind::Gone { .. }, Ok(())) => drop(self.written.remove(&update.session_id)),
                (Kind::Gone { .. }, Err(_)) => {}
                (Kind::New { .. } | Kind::Changed, outcome) => {
                    let fresh = || Written { user_id: update.user_id, rooms: BTreeSet::new() };
                    let rooms = &mut self.written.entry(update.session_id).or_insert_with(fresh).rooms;
                    rooms.extend(update.entered.iter().copied());
                    if outcome.is_ok() {
                        rooms.retain(|room| !update.left.contains(room));
                    }
                }
            }
        }
        presence::announce_arrivals(&self.context, arrived).await;
        outcome
    }

    async fn withdraw(&mut self) {
        let withdrawn = std::mem::take(&mut self.withdrawn);
        let commands = withdrawn.iter().flat_map(|(user_id, channel_id)| {
            [
                Command::new("SREM", keys::room_users(*channel_id)).arg(user_id.to_string()),
                Command::new("SREM", keys::user_rooms(*user_id)).arg(channel_id.to_string()),
            ]
        });
        if let Err(error) = all(self.context.redis.execute(commands.collect()).await) {
            debug!(error = %error, "users who were removed are still listed in a room");
            self.withdrawn = withdrawn;
        }
    }

    /// As soon as possible, but for one that has failed: that one is tried again at its time.
    fn want_resync(&mut self, reason: Resync) {
        self.resync = match self.resync {
            None | Some((Resync::Precaution, _)) => Some((reason, Instant::now())),
            Some((other, at)) => Some((reason.max(other), at)),
        };
    }

    /// Says so once; then everything is written anew, less and less often tried.
    fn failed(&mut self, reason: Resync, error: &BusError) {
        if self.context.metrics.up.set(0) != 0 || self.backoff == BACKOFF {
            warn!(error = %error, "the session registry cannot be written; sessions are served all the same");
        }
        self.resync = Some((reason, Instant::now() + self.backoff));
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
    }

    /// Writes every session anew, takes out what Redis has beyond that, and tells of who is new in a room.
    async fn resync(&mut self, reason: Resync) {
        let began = Instant::now();
        if let Err(error) = self.write_everything().await {
            return self.failed(reason, &error);
        }
        self.context.metrics.up.set(1);
        self.context.metrics.of_resync(reason).inc();
        info!(
            resync.reason = reason.as_str(),
            registry.sessions = self.written.len(),
            duration.ms = began.elapsed().as_millis(),
            "the session registry was written anew"
        );
        (self.resync, self.backoff) = (None, BACKOFF);
        if reason == Resync::LeaseLost {
            self.resync = Some((Resync::Precaution, Instant::now() + REAPERS_FINISH));
        }
    }

    async fn write_everything(&mut self) -> Result<(), BusError> {
        if !self.leased {
            lease::take(&self.context).await?;
            self.leased = true;
        }
        let live = self.context.directory.sessions();
        for some in live.chunks(SESSIONS_PER_STEP) {
            self.rewrite(some).await?;
        }
        let live: std::collections::HashSet<_> = live.iter().map(|session| session.id).collect();
        let ended: Vec<_> = self.written.keys().copied().filter(|id| !live.contains(id)).collect();
        for some in ended.chunks(SESSIONS_PER_STEP) {
            self.take_out(some).await?;
        }
        self.take_out_strangers().await
    }

    /// Writes sessions whether or not Redis has them, and takes them out of the rooms that it wrongly has them in.
    async fn rewrite(&mut self, sessions: &[Arc<SessionHandle>]) -> Result<(), BusError> {
        let ids: Vec<_> = sessions.iter().map(|session| session.id).collect();
        let actual = described(&self.context, &ids).await?;
        let mut updates = Vec::with_capacity(sessions.len());
        for (session, actual) in sessions.iter().zip(actual) {
            let mut left = actual.map(|actual| actual.rooms).unwrap_or_default();
            left.extend(self.written.get(&session.id).into_iter().flat_map(|written| written.rooms.iter().copied()));
            let (session_id, user_id) = (session.id, session.user_id);
            let (kind, entered) = match session.registration() {
                Registration::Arriving => continue,
                Registration::Present(rooms) => (Kind::New { connected_at: session.connected_at }, rooms),
                Registration::Gone => (Kind::Gone { user_leaves_at: self.context.user_leaves_at() }, Vec::new()),
            };
            left.retain(|room| !entered.contains(room));
            updates.push(Update { session_id, user_id, kind, entered, left: left.into_iter().collect() });
        }
        self.write(&updates).await
    }

    /// Takes sessions out that are not here any more.
    async fn take_out(&mut self, session_ids: &[Uuid]) -> Result<(), BusError> {
        let actual = described(&self.context, session_ids).await?;
        let kind = Kind::Gone { user_leaves_at: self.context.user_leaves_at() };
        let mut updates = Vec::with_capacity(session_ids.len());
        let mut nameless = Vec::new();
        for (session_id, actual) in session_ids.iter().copied().zip(actual) {
            let mut known = actual;
            if let Some(written) = self.written.get(&session_id) {
                let known = known.get_or_insert_with(|| Described { user_id: written.user_id, rooms: BTreeSet::new() });
                known.rooms.extend(written.rooms.iter().copied());
            }
            match known {
                Some(Described { user_id, rooms }) => {
                    let left = rooms.into_iter().collect();
                    updates.push(Update { session_id, user_id, kind, entered: Vec::new(), left });
                }
                None => nameless.push(session_id.to_string()),
            }
        }
        forget_nameless(&self.context.redis, self.context.instance_id, nameless).await?;
        self.write(&updates).await
    }

    /// Goes through the sessions that Redis has of this instance, and takes out those that it never wrote, or has forgotten.
    async fn take_out_strangers(&mut self) -> Result<(), BusError> {
        let mut cursor = "0".to_owned();
        loop {
            let scan = Command::new("SSCAN", keys::instance_sessions(self.context.instance_id));
            let scan = scan.arg(cursor).arg("COUNT").arg(1_000);
            let reply = all(self.context.redis.execute(vec![scan]).await)?.pop().unwrap_or(Reply::Null);
            let (next, members): (String, Vec<String>) =
                reply.convert().map_err(|error| BusError::Unavailable(error.to_string()))?;
            let ids = members.iter().filter_map(|id| Uuid::parse_str(id).ok());
            let strangers: Vec<_> = ids.filter(|id| !self.written.contains_key(id)).collect();
            for some in strangers.chunks(SESSIONS_PER_STEP) {
                self.context.metrics.drift.inc_by(some.len() as u64);
                self.take_out(some).await?;
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn look(&mut self) {
        if self.resync.is_some() || !self.context.changes.is_empty() {
            return;
        }
        match self.sweep.look(&self.context, &self.written).await {
            Ok(0) => {
                self.context.metrics.up.set(1);
            }
            Ok(drift) => {
                warn!(registry.drift = drift, "Redis does not have what it should; everything is written anew");
                self.context.metrics.drift.inc_by(drift);
                self.context.changes.resync(Resync::Drift);
            }
            Err(error) => self.failed(Resync::Failure, &error),
        }
    }

    fn count(&self) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let pending = if self.resync.is_some() { self.context.directory.session_count() } else { 0 };
        self.context.metrics.pending.set(number(pending.max(self.context.changes.len())));
        self.context.metrics.sessions.set(number(self.written.len()));
    }
}

/// What Redis says of a session.
pub(super) struct Described {
    pub(super) user_id: UserId,
    pub(super) rooms: BTreeSet<ChannelId>,
}

/// What Redis says of these sessions; `None` for those that it does not have.
pub(super) async fn described(context: &Context, session_ids: &[Uuid]) -> Result<Vec<Option<Described>>, BusError> {
    let commands = session_ids.iter().map(|id| Command::new("HGETALL", keys::session(*id))).collect();
    Ok(all(context.redis.execute(commands).await)?.into_iter().map(describe).collect())
}

fn describe(reply: Reply) -> Option<Described> {
    let fields: HashMap<String, String> = reply.convert().ok()?;
    let user_id = fields.get("userId")?.parse().ok()?;
    Some(Described { user_id, rooms: fields.keys().filter_map(|field| keys::room_of_field(field)).collect() })
}
