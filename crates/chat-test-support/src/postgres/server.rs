//! A PostgreSQL server of its own for one test, which can be crashed, frozen and restarted.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;

use super::backends::{children, signal_all, wait_for_end};
use super::cluster::{Cluster, ROLE};
use crate::port::free_port;
use crate::process::Process;

/// A start takes well under a second; recovery after a crash on a loaded machine takes more.
const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Another process may take the chosen port before PostgreSQL does. Five times in a row is no accident.
const PORT_ATTEMPTS: usize = 5;
const DATABASE: &str = "chat";

/// A PostgreSQL server on 127.0.0.1 with one database, empty at first. Killed and removed when dropped.
#[derive(Debug)]
pub struct PostgresServer {
    process: Process,
    cluster: Cluster,
    port: u16,
    durable: bool,
    folder: TempDir,
}

impl PostgresServer {
    /// Starts a server on a port that the kernel chose. Nothing is forced to disk: what it has committed outlives a
    /// crash of the server, and may not outlive one of the machine.
    ///
    /// # Panics
    /// When there is no PostgreSQL, or it does not come up.
    pub async fn start() -> Self {
        Self::start_with(false).await
    }

    /// The same with every commit forced to disk, as in production.
    ///
    /// # Panics
    /// When there is no PostgreSQL, or it does not come up.
    pub async fn start_durable() -> Self {
        Self::start_with(true).await
    }

    async fn start_with(durable: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let cluster = Cluster::create(folder.path());
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            let mut process = launch(&cluster, port, durable, folder.path());
            if is_up(&mut process, &cluster, port).await {
                let mut connection = connect(port, "postgres").await.expect("a started server takes connections");
                let sql = format!("CREATE DATABASE {DATABASE}");
                connection.execute(AssertSqlSafe(sql)).await.expect("a database can be made");
                return Self { process, cluster, port, durable, folder };
            }
            let tail = process.log_tail();
            assert!(tail.contains("Address already in use"), "PostgreSQL did not come up:\n{tail}");
        }
        panic!("PostgreSQL found its port taken {PORT_ATTEMPTS} times in a row");
    }

    /// The URL of its database, the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Its version, as it tells it: `17.5 (Debian …)`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn version(&self) -> String {
        let mut connection = connect(self.port, DATABASE).await.expect("a started server takes connections");
        let version = sqlx::query_scalar("SELECT current_setting('server_version')");
        version.fetch_one(&mut connection).await.expect("a server tells its version")
    }

    /// Crashes it: SIGKILL for all its processes. [`PostgresServer::restart`] recovers what was committed.
    ///
    /// # Panics
    /// When its processes do not end.
    pub fn kill(&mut self) {
        if self.process.ended().is_some() {
            return;
        }
        // Frozen, it forks no more.
        self.process.signal(Signal::STOP);
        let backends = children(self.process.id());
        signal_all(&backends, Signal::KILL);
        self.process.kill();
        wait_for_end(&backends, STOP_DEADLINE);
    }

    /// Shuts it down in order, without waiting for its clients: their connections break.
    ///
    /// # Panics
    /// When it does not end in time, as it does not while it is frozen.
    pub fn stop(&mut self) {
        self.process.stop(Signal::INT, STOP_DEADLINE);
    }

    /// Starts it again on the same port with the same data and waits until it answers; kills it first if it still runs.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        self.kill();
        let started = Instant::now();
        // A client may hold the port for a moment as its own local port, so one refusal is not final.
        while started.elapsed() < START_DEADLINE {
            self.process = launch(&self.cluster, self.port, self.durable, self.folder.path());
            if is_up(&mut self.process, &self.cluster, self.port).await {
                return;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        panic!("PostgreSQL did not come up again on port {}:\n{}", self.port, self.process.log_tail());
    }

    /// Freezes all its processes (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&mut self) {
        self.process.signal(Signal::STOP);
        signal_all(&children(self.process.id()), Signal::STOP);
    }

    /// Lets frozen processes go on (SIGCONT).
    pub fn resume(&mut self) {
        signal_all(&children(self.process.id()), Signal::CONT);
        self.process.signal(Signal::CONT);
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Its children would outlive it for a moment and write into a folder that is being removed.
        self.kill();
    }
}

fn launch(cluster: &Cluster, port: u16, durable: bool, folder: &Path) -> Process {
    Process::start(cluster.postgres(port, durable), &folder.join("log"))
}

/// Whether this very server answers on the port. Another test's may answer there, so the data folder is compared.
async fn is_up(process: &mut Process, cluster: &Cluster, port: u16) -> bool {
    let started = Instant::now();
    while started.elapsed() < START_DEADLINE && process.ended().is_none() {
        if data_folder(port).await.is_ok_and(|folder| Path::new(&folder) == cluster.data()) {
            return true;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    false
}

async fn data_folder(port: u16) -> Result<String, sqlx::Error> {
    let mut connection = connect(port, "postgres").await?;
    sqlx::query_scalar("SELECT current_setting('data_directory')").fetch_one(&mut connection).await
}

async fn connect(port: u16, database: &str) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::new().host("127.0.0.1").port(port).username(ROLE).database(database);
    let timed_out = |_| sqlx::Error::Io(std::io::Error::other("no answer in time"));
    tokio::time::timeout(CONNECT_DEADLINE, PgConnection::connect_with(&options)).await.map_err(timed_out)?
}
