//! What somebody might use instead, with Redis in the path as here: one process that delivers is measured, another one
//! takes what is sent. None of them asks who somebody is or promises an order, and none keeps anything on disk, unless it is told
//! to.

mod nchan;
mod socketio;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use chat_test_support::postgres::PostgresServer;
use chat_test_support::redis::RedisServer;
use clap::{Args, ValueEnum};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::failure::{Failure, While};
use crate::fleet::Seat;
use crate::http::Target;
use crate::world::Bench;

const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Socket.IO with its Redis adapter, under Node.
    Socketio,
    /// nginx with its module nchan.
    Nchan,
}

/// Where the peers are on this machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct Programs {
    /// Node, for --peer socketio.
    #[arg(long, hide = true, env = "CHAT_BENCH_NODE")]
    node: Option<PathBuf>,
    /// The folder with the programs of Socket.IO and all that they need.
    #[arg(long, hide = true, env = "CHAT_BENCH_SOCKETIO")]
    socketio: Option<PathBuf>,
    /// nginx, for --peer nchan.
    #[arg(long, hide = true, env = "CHAT_BENCH_NGINX")]
    nginx: Option<PathBuf>,
    /// Its module.
    #[arg(long, hide = true, env = "CHAT_BENCH_NCHAN_MODULE")]
    nchan_module: Option<PathBuf>,
}

/// A running one.
pub(crate) struct Peer {
    kind: Kind,
    // Dropped in this order: what uses others first.
    instance: Daemon,
    publisher: Daemon,
    _redis: RedisServer,
    _postgres: Option<PostgresServer>,
    _folder: TempDir,
}

impl Peer {
    /// With the process that delivers alone on its core, if it is the one that is measured.
    pub(crate) async fn start(kind: Kind, bench: &mut Bench, core: Option<usize>) -> Result<Self, Failure> {
        Self::start_with(kind, bench, core, false).await
    }

    /// One that has forced a message to disk before it delivers it, as the chat has.
    pub(crate) async fn start_durable(kind: Kind, bench: &mut Bench) -> Result<Self, Failure> {
        Self::start_with(kind, bench, None, true).await
    }

    async fn start_with(kind: Kind, bench: &mut Bench, core: Option<usize>, durable: bool) -> Result<Self, Failure> {
        let redis = RedisServer::start().await;
        let folder = tempfile::tempdir()?;
        let postgres = match kind {
            Kind::Socketio if durable => Some(PostgresServer::start_durable().await),
            Kind::Socketio | Kind::Nchan => None,
        };
        let (instance, publisher) = match kind {
            Kind::Socketio => {
                let database = postgres.as_ref().map(PostgresServer::url);
                socketio::start(&bench.programs, &redis, database, folder.path(), core).await?
            }
            Kind::Nchan => {
                if durable {
                    nchan::make_durable(&redis).await?;
                }
                nchan::start(&bench.programs, &redis, folder.path(), core).await?
            }
        };
        bench.versions.extend(match kind {
            Kind::Socketio => socketio::versions(&bench.programs)?,
            Kind::Nchan => nchan::versions(&bench.programs, instance.address).await?,
        });
        Ok(Self { kind, instance, publisher, _redis: redis, _postgres: postgres, _folder: folder })
    }

    /// The processes that deliver.
    pub(crate) fn processes(&self) -> Result<Vec<u32>, Failure> {
        let mut processes = crate::process::children(self.instance.id())?;
        processes.push(self.instance.id());
        Ok(processes)
    }

    /// A connection that listens to a room.
    pub(crate) fn seat(&self, room: usize) -> Seat {
        match self.kind {
            Kind::Socketio => Seat::of_socketio(self.instance.address, &format!("room{room}")),
            Kind::Nchan => Seat::at_path(self.instance.address, &format!("/subscribe/room{room}")),
        }
    }

    pub(crate) fn publisher(&self) -> SocketAddr {
        self.publisher.address
    }

    /// Where a room's messages are sent to. They look like events and so are counted like them.
    pub(crate) fn target(&self, room: usize) -> Target {
        let path = match self.kind {
            Kind::Socketio => format!("/room{room}"),
            Kind::Nchan => format!("/publish/room{room}"),
        };
        Target { path, token: None, around: (BEFORE.to_owned(), AFTER.to_owned()) }
    }

    /// The length of the text in a message whose frame has a payload of this length.
    pub(crate) fn text(&self, payload: usize) -> usize {
        let around = match self.kind {
            Kind::Socketio => r#"42["message",]"#.len(),
            Kind::Nchan => 0,
        };
        payload.saturating_sub(BEFORE.len() + AFTER.len() + around)
    }

    /// Waits until so many connections in all are subscribed, where they themselves do not know it.
    pub(crate) async fn until_subscribed(&self, connections: usize) -> Result<(), Failure> {
        let began = Instant::now();
        while self.kind == Kind::Nchan && nchan::subscribed(self.instance.address).await? != connections {
            if began.elapsed() > SUBSCRIBE_TIMEOUT {
                return Err(Failure(format!("fewer than {connections} connections were subscribed")));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Socketio => "Socket.IO",
            Self::Nchan => "nchan",
        }
    }

    /// With what makes its messages durable.
    pub(crate) const fn durable_name(self) -> &'static str {
        match self {
            Self::Socketio => "Socket.IO, committing to PostgreSQL",
            Self::Nchan => "nchan, Redis forcing each write to disk",
        }
    }
}

const BEFORE: &str = r#"{"type":"MESSAGE","content":""#;
const AFTER: &str = r#""}"#;

/// Names and versions, for the report.
type Versions = BTreeMap<String, String>;

fn found<'a>(program: Option<&'a PathBuf>, what: &str) -> Result<&'a PathBuf, Failure> {
    program.ok_or_else(|| Failure(format!("{what} is not known; `cargo xtask bench` finds it, or installs it")))
}

/// What a program writes of itself.
fn told(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().while_doing(&format!("{command:?}"))?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned())
}
