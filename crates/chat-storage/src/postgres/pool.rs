//! Connections of which none is lost for good.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::metrics::PoolState;

/// How long a connection may take to show that it is alive when it is given back. It has its place in the pool meanwhile,
/// and when its peer vanished without a word, TCP waits for a quarter of an hour, or for ever.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections to one server. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    connections: PgPool,
    returns: TaskTracker,
}

impl Pool {
    pub(super) fn new(connections: PgPool) -> Self {
        Self { connections, returns: TaskTracker::new() }
    }

    pub(super) async fn connection(&self) -> Result<Loan, sqlx::Error> {
        let connection = self.connections.acquire().await?;
        Ok(Loan { connection, returns: self.returns.clone() })
    }

    /// How many connections there are, under the name that this pool goes by.
    pub(super) fn state(&self, name: &'static str) -> PoolState {
        PoolState::of(name, &self.connections)
    }

    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
}

/// A connection for as long as it is used. Then it goes back to the pool, or makes room there for another one.
#[derive(Debug)]
pub(super) struct Loan {
    connection: PoolConnection<Postgres>,
    returns: TaskTracker,
}

impl Deref for Loan {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Loan {
    /// As sqlx gives it back when it is dropped, but with a bound. None of sqlx's hooks has one: the sign of life is asked
    /// for after them.
    fn drop(&mut self) {
        let returned = timeout(RETURN_TIMEOUT, self.connection.return_to_pool());
        self.returns.spawn(async {
            if returned.await.is_err() {
                tracing::warn!("a connection to PostgreSQL that does not answer any more was given up");
            }
        });
    }
}
