//! Connections of which none is lost for good.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{
    Connection, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::metrics::PoolState;

/// How long a connection may take to show that it is alive: when it is taken, and when it is given back and the statement
/// that may still run has ended. It has its place in the pool meanwhile, and when its peer vanished without a word, TCP waits
/// for a quarter of an hour, or for ever.
const SIGN_OF_LIFE_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections to one server. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    connections: PgPool,
    return_timeout: Duration,
    returns: TaskTracker,
}

impl Pool {
    /// Connects when somebody needs a connection. The server ends statements after this time.
    pub(super) fn new(bounds: PgPoolOptions, server: PgConnectOptions, statement_timeout: Duration) -> Self {
        // sqlx's own test waits as long as the caller may, who then has no connection.
        let bounds = bounds.test_before_acquire(false);
        let bounds = bounds.before_acquire(|connection, _| Box::pin(async { Ok(is_alive(connection).await) }));
        Self {
            connections: bounds.connect_lazy_with(server),
            return_timeout: statement_timeout + SIGN_OF_LIFE_TIMEOUT,
            returns: TaskTracker::new(),
        }
    }

    pub(super) async fn connection(&self) -> Result<Loan, sqlx::Error> {
        let connection = self.connections.acquire().await?;
        Ok(Loan { connection, return_timeout: self.return_timeout, returns: self.returns.clone() })
    }

    /// How many connections there are, under the name that this pool goes by.
    pub(super) fn state(&self, name: &'static str) -> PoolState {
        PoolState::of(name, &self.connections)
    }

    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
}

async fn is_alive(connection: &mut PgConnection) -> bool {
    timeout(SIGN_OF_LIFE_TIMEOUT, connection.ping()).await.is_ok_and(|answer| answer.is_ok())
}

/// A connection for as long as it is used. Then it goes back to the pool, or makes room there for another one.
#[derive(Debug)]
pub(super) struct Loan {
    connection: PoolConnection<Postgres>,
    return_timeout: Duration,
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
        let returned = timeout(self.return_timeout, self.connection.return_to_pool());
        self.returns.spawn(async {
            if returned.await.is_err() {
                tracing::warn!("a connection to PostgreSQL that does not answer any more was given up");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use chat_test_support::{postgres::Database, proxy::TcpProxy, wait_until};
    use url::Url;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_fell_silent_while_idle_is_replaced() {
        let database = Database::create().await;
        let url = Url::parse(&database.url()).unwrap();
        let proxy = TcpProxy::start(url.socket_addrs(|| None).unwrap()[0]).await;
        let server = url.as_str().parse::<PgConnectOptions>().unwrap().port(proxy.address().port());
        let bounds = PgPoolOptions::new().max_connections(1).acquire_timeout(SIGN_OF_LIFE_TIMEOUT * 3);
        let pool = Pool::new(bounds, server, Duration::ZERO);
        drop(pool.connection().await.unwrap());
        wait_until("it is idle", Duration::from_secs(10), async || pool.state("test").idle == 1).await;

        proxy.forget_connections();
        pool.connection().await.unwrap().ping().await.unwrap();
    }
}
