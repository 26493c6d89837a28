//! A fresh PostgreSQL database for one test in the cluster that `cargo xtask test` runs, or a server of its own.

mod backends;
mod cluster;
mod server;

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};
use url::Url;
use uuid::Uuid;

pub use server::PostgresServer;

use crate::environment::{HOW_TO_GET_IT, variable};

const VARIABLE: &str = "CHAT_TEST_POSTGRES_URL";
const DEADLINE: Duration = Duration::from_secs(20);

/// An empty database, dropped at the end of the test, also when it panics.
#[derive(Debug)]
pub struct Database {
    maintenance: Url,
    name: String,
}

impl Database {
    /// Makes a database with a name of its own.
    ///
    /// # Panics
    /// When `CHAT_TEST_POSTGRES_URL` is missing or its cluster does not answer.
    pub async fn create() -> Self {
        let url = variable(VARIABLE).unwrap_or_else(|| panic!("{VARIABLE} is not set; {HOW_TO_GET_IT}"));
        let maintenance = Url::parse(&url).unwrap_or_else(|error| panic!("{VARIABLE} is not a URL: {error}"));
        let database = Self { maintenance, name: format!("chat_test_{}", Uuid::new_v4().simple()) };
        run(&database.maintenance, &format!("CREATE DATABASE {}", database.name))
            .await
            .unwrap_or_else(|error| panic!("cannot make a database at {VARIABLE}: {error}; {HOW_TO_GET_IT}"));
        database
    }

    /// The URL of this database.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = self.maintenance.clone();
        url.set_path(&self.name);
        url.into()
    }

    /// Breaks every connection to this database, as a failover does, and waits until they are gone. New ones are served
    /// at once.
    ///
    /// # Panics
    /// When the cluster does not answer.
    pub async fn cut_connections(&self) {
        let sql =
            format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}'", self.name);
        run(&self.maintenance, &sql).await.expect("the cluster answers");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let maintenance = self.maintenance.clone();
        // A destructor cannot wait inside the test's runtime, so the statement runs on a thread with its own.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(run(&maintenance, &sql))
        });
        let outcome = dropped.join();
        if !std::thread::panicking() {
            outcome.expect("the thread that drops the database ends").expect("the test's database can be dropped");
        }
    }
}

async fn run(url: &Url, sql: &str) -> Result<(), sqlx::Error> {
    let statement = async {
        let options: PgConnectOptions = url.as_str().parse()?;
        let mut connection = PgConnection::connect_with(&options).await?;
        connection.execute(AssertSqlSafe(sql.to_owned())).await?;
        connection.close().await
    };
    let timed_out = |_| sqlx::Error::Io(std::io::Error::other("no answer in time"));
    tokio::time::timeout(DEADLINE, statement).await.map_err(timed_out)?
}
