//! The connection on which one batch follows the other.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use sqlx::PgConnection;
use tokio::time::Instant;

use super::{
    memory::Memory,
    pool::{Loan, Pool},
};

/// How long a connection is kept out of the pool, which asks the server for a sign of life before and after each use: two
/// more round trips for every batch.
const KEPT: Duration = Duration::from_secs(1);

/// After a batch that lost against another process, so many lock their channels first.
const WARY_BATCHES: u32 = 64;

/// Gives connections to batches, and remembers for the next one what it may have to know, and whether others write to the
/// same channels.
#[derive(Debug)]
pub(super) struct Lane {
    pool: Pool,
    /// Are its connections for batches alone? Otherwise none is kept: it may be the only one, and others wait for it.
    exclusive: bool,
    state: Mutex<State>,
    memory: Mutex<Memory>,
    /// Batches that are still to lock first.
    wary: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    /// The last batch's, if that went well.
    kept: Option<Kept>,
    /// Batches that wait for the pool. While there are any, nothing is kept from it.
    waiting: usize,
}

#[derive(Debug)]
struct Kept {
    connection: Loan,
    taken: Instant,
}

impl Lane {
    pub(super) fn new(pool: Pool, exclusive: bool) -> Self {
        Self { pool, exclusive, state: Mutex::default(), memory: Mutex::default(), wary: AtomicU32::new(0) }
    }

    /// A connection that was alive a moment ago. Batches at the same time each get their own.
    pub(super) async fn connection(&self) -> Result<LaneConnection<'_>, sqlx::Error> {
        let waiting = {
            let mut state = self.state.lock();
            if let Some(kept) = state.kept.take().filter(|kept| kept.taken.elapsed() < KEPT) {
                return Ok(LaneConnection { lane: self, kept });
            }
            state.waiting += 1;
            Waiting(self)
        };
        let connection = self.pool.connection().await?;
        drop(waiting);
        Ok(LaneConnection { lane: self, kept: Kept { connection, taken: Instant::now() } })
    }

    /// What batches remember. Not to be held while anything is waited for.
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }

    /// Is another process likely to write to the same channels now?
    pub(super) fn expects_rivals(&self) -> bool {
        self.wary.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |wary| wary.checked_sub(1)).is_ok()
    }

    /// Another process was faster.
    pub(super) fn met_a_rival(&self) {
        self.wary.store(WARY_BATCHES, Ordering::Relaxed);
    }

    pub(super) async fn close(&self) {
        drop(self.state.lock().kept.take());
        self.pool.close().await;
    }
}

/// One that waits, until it has a connection or is given up.
struct Waiting<'l>(&'l Lane);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

/// The connection of one batch. Back to the pool with it, unless it is kept.
pub(super) struct LaneConnection<'l> {
    lane: &'l Lane,
    kept: Kept,
}

impl LaneConnection<'_> {
    pub(super) fn get(&mut self) -> &mut PgConnection {
        &mut self.kept.connection
    }

    /// The batch went well: the next one may go the same way.
    pub(super) fn keep(self) {
        let mut state = self.lane.state.lock();
        if self.lane.exclusive && state.waiting == 0 {
            state.kept = Some(self.kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_test_support::postgres::Database;
    use sqlx::{Connection, postgres::PgPoolOptions};

    use super::*;

    #[tokio::test]
    async fn who_waits_is_not_starved_by_who_follows_itself() {
        let database = Database::create().await;
        // Less patience than a connection is kept.
        let bounds = PgPoolOptions::new().max_connections(1).acquire_timeout(KEPT / 2);
        let lane = Lane::new(Pool::new(bounds, database.url().parse().unwrap(), KEPT), true);
        let batches = async || {
            let began = Instant::now();
            while began.elapsed() < KEPT {
                let mut connection = lane.connection().await?;
                connection.get().ping().await?;
                connection.keep();
            }
            Ok::<_, sqlx::Error>(())
        };
        let (one, other) = tokio::join!(batches(), batches());
        one.unwrap();
        other.unwrap();
    }
}
