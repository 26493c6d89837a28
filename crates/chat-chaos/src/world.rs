//! The running system, and how each fault is done to it and healed.

mod redis;

use std::{collections::BTreeSet, time::Duration};

use chat_test_support::{
    postgres::PostgresServer,
    proxy::TcpProxy,
    redis::RedisServer,
    system::{Builder, Server, System},
};
use tokio::time::{sleep, timeout};

use crate::{
    act::Script,
    fault::{Fault, Part, Storage},
    plan::Strike,
};
use redis::RunningRedis;

pub(crate) const MESSAGE_SERVERS: usize = 2;
pub(crate) const INSTANCES: usize = 3;
pub(crate) const SERVERS: usize = MESSAGE_SERVERS + INSTANCES;
/// How long a server may take to drain. Shorter than in production, so that there is time for more faults.
const DRAIN: Duration = Duration::from_secs(3);
/// Longer than the drain.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// What a slow network adds in each direction.
const DELAY: Duration = Duration::from_millis(200);

/// The whole system as processes.
pub(crate) struct World {
    pub(crate) system: System,
    redis: RunningRedis,
    postgres: Option<PostgresServer>,
    /// The servers that are meant to be down.
    down: BTreeSet<usize>,
    /// What went wrong with the system itself, or with a fault that was to be done to it.
    pub(crate) complaints: Vec<String>,
}

impl World {
    pub(crate) async fn start(script: &Script) -> Self {
        let mut builder = builder(script);
        let postgres = match script.storage {
            Storage::Sqlite => None,
            Storage::Postgres => Some(PostgresServer::start_durable().await),
        };
        if let Some(postgres) = &postgres {
            builder = builder.database_at(postgres.url());
        }
        let redis = RunningRedis::start(script.redis).await;
        builder = builder.redis_at(redis.url());
        let system = builder.start().await;
        Self { system, redis, postgres, down: BTreeSet::new(), complaints: Vec::new() }
    }

    /// Begins a fault.
    pub(crate) async fn strike(&mut self, strike: &Strike) {
        match strike.fault {
            Fault::MessageServerKill | Fault::InstanceKill => {
                self.down.insert(index(strike));
                self.server(strike).kill();
            }
            Fault::MessageServerPause | Fault::InstancePause => self.server(strike).pause(),
            Fault::MessageServerDeploy | Fault::InstanceDeploy => {
                self.down.insert(index(strike));
                self.server(strike).ask_to_stop();
            }
            Fault::RollingDeploy => self.deploy_all().await,
            Fault::RedisKill => self.redis.strike(strike.target, RedisServer::kill).await,
            Fault::RedisPause => self.redis.strike(strike.target, RedisServer::pause).await,
            Fault::RedisFlush => {
                let done = self.redis.command(&["FLUSHALL"]).await;
                self.note(done);
            }
            Fault::RedisCutSubscribers => {
                let done = self.redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
                self.note(done);
            }
            Fault::RedisCutPublishers => {
                let done = self.redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
                self.note(done);
            }
            Fault::RedisFailover => self.redis.fail_over().await,
            Fault::RedisLossyFailover => {
                let done = self.redis.fail_over_with_loss().await;
                self.note(done);
            }
            Fault::SentinelKill => self.redis.kill_sentinel(strike.target),
            Fault::PostgresKill => self.postgres(PostgresServer::kill),
            Fault::PostgresRestart => self.postgres(PostgresServer::stop),
            Fault::PostgresPause => self.postgres(PostgresServer::pause),
            Fault::PublisherCut
            | Fault::SubscriberCut
            | Fault::ListenersCut
            | Fault::SendersCut
            | Fault::InstanceStorageCut
            | Fault::MessageServerStorageCut => self.link(strike, TcpProxy::cut),
            Fault::PublisherStall
            | Fault::SubscriberStall
            | Fault::ListenersStall
            | Fault::SendersStall
            | Fault::InstanceStorageStall
            | Fault::MessageServerStorageStall => self.link(strike, TcpProxy::stall),
            Fault::PublisherDelay
            | Fault::SubscriberDelay
            | Fault::ListenersDelay
            | Fault::MessageServerStorageDelay => self.link(strike, |link| link.delay(DELAY)),
        }
    }

    /// Ends a fault. What was killed is started again.
    pub(crate) async fn heal(&mut self, strike: &Strike) {
        match strike.fault {
            Fault::MessageServerPause | Fault::InstancePause => self.server(strike).resume(),
            Fault::MessageServerKill | Fault::InstanceKill => {
                self.server(strike).restart().await;
                self.down.remove(&index(strike));
            }
            Fault::MessageServerDeploy | Fault::InstanceDeploy => self.restart_when_ended(index(strike)).await,
            Fault::RedisKill | Fault::RedisLossyFailover => self.redis.restart_struck().await,
            Fault::RedisPause => self.redis.resume_struck(),
            Fault::SentinelKill => self.redis.restart_sentinel(strike.target).await,
            Fault::PostgresKill | Fault::PostgresRestart => {
                if let Some(postgres) = &mut self.postgres {
                    postgres.restart().await;
                }
            }
            Fault::PostgresPause => self.postgres(PostgresServer::resume),
            Fault::RollingDeploy
            | Fault::RedisFlush
            | Fault::RedisCutSubscribers
            | Fault::RedisCutPublishers
            | Fault::RedisFailover => {}
            _ => self.link(strike, |link| {
                link.delay(Duration::ZERO);
                link.mend();
            }),
        }
    }

    /// The fault, and the server that it is done to.
    pub(crate) fn describe(&mut self, strike: &Strike) -> String {
        let name = strike.fault.name();
        match strike.fault.part() {
            Part::AllServers | Part::Redis | Part::Postgres => name,
            _ => format!("{name} ({})", self.any_server(index(strike)).0),
        }
    }

    /// One of all servers, with its name: the message servers come first.
    pub(crate) fn any_server(&mut self, index: usize) -> (String, &mut Server) {
        match index.checked_sub(MESSAGE_SERVERS) {
            None => (format!("message server {index}"), self.system.message_server(index)),
            Some(instance) => (format!("instance {instance}"), self.system.websocket_server(instance)),
        }
    }

    /// A server that ends although nobody meant it to has crashed, even if the others make up for it.
    pub(crate) fn look_for_crashes(&mut self) {
        for index in 0..SERVERS {
            let (name, server) = self.any_server(index);
            if let Some(status) = server.ended()
                && self.down.insert(index)
            {
                self.complaints.push(format!("{name} ended by itself with {status}"));
            }
        }
    }

    /// The logs of all servers, with their names.
    pub(crate) fn logs(&mut self) -> Vec<(String, String)> {
        let log = |index| {
            let (name, server) = self.any_server(index);
            (name, server.log())
        };
        (0..SERVERS).map(log).collect()
    }

    fn server(&mut self, strike: &Strike) -> &mut Server {
        self.any_server(index(strike)).1
    }

    fn link(&mut self, strike: &Strike, change: impl Fn(&TcpProxy)) {
        let server = self.server(strike);
        let link = match strike.fault.part() {
            Part::Publisher | Part::Subscriber => server.link_to_redis(),
            Part::Listeners | Part::Senders => server.link_to_users(),
            _ => server.link_to_storage(),
        };
        change(link.expect("the fault applies to this system"));
    }

    fn postgres(&mut self, change: impl Fn(&mut PostgresServer)) {
        change(self.postgres.as_mut().expect("the fault applies to this system"));
    }

    async fn deploy_all(&mut self) {
        for index in 0..SERVERS {
            self.down.insert(index);
            self.any_server(index).1.ask_to_stop();
            self.restart_when_ended(index).await;
        }
    }

    fn note(&mut self, done: Result<(), String>) {
        self.complaints.extend(done.err());
    }

    /// A server that does not drain in time is a complaint, and killed, as a supervisor does it.
    async fn restart_when_ended(&mut self, index: usize) {
        let (name, server) = self.any_server(index);
        let ended = timeout(END_DEADLINE, async {
            loop {
                if let Some(status) = server.ended() {
                    return status;
                }
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        server.restart().await;
        self.down.remove(&index);
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => self.complaints.push(format!("{name} was asked to end and ended with {status}")),
            Err(_) => self.complaints.push(format!("{name} did not end within {END_DEADLINE:?}")),
        }
    }
}

/// The server that a fault is done to, among all.
const fn index(strike: &Strike) -> usize {
    match strike.fault.part() {
        Part::MessageServer | Part::Publisher | Part::Senders | Part::MessageServerStorage => {
            strike.target % MESSAGE_SERVERS
        }
        _ => MESSAGE_SERVERS + strike.target % INSTANCES,
    }
}

fn builder(script: &Script) -> Builder {
    let mut builder = System::builder()
        .message_servers(MESSAGE_SERVERS)
        .websocket_servers(INSTANCES)
        .setting("CHAT_PROCESS_DRAIN", humantime::format_duration(DRAIN).to_string())
        // All the load comes from one address and a few users.
        .message_setting("CHAT_LIMITS_REQUESTS_PER_SECOND", "0")
        .websocket_setting("CHAT_LIMITS_CONNECTIONS_PER_ADDRESS", "100000")
        .websocket_setting("CHAT_LIMITS_CONNECTIONS_PER_USER", "100000");
    if script.faults.iter().any(|fault| fault.needs_links()) {
        builder = builder.links();
    }
    if script.repair { builder } else { builder.websocket_setting("CHAT_LIMITS_REPAIR", "false") }
}
