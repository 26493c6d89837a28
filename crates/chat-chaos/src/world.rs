//! The running system, and how each fault is done to it and healed.

use std::time::Duration;

use chat_test_support::{
    postgres::PostgresServer,
    proxy::TcpProxy,
    redis::{RedisCluster, RedisSentinels, RedisServer},
    system::{Builder, Server, System},
};

use crate::{
    act::Script,
    fault::{Fault, Part, Redis, Storage},
    plan::Strike,
};

pub(crate) const MESSAGE_SERVERS: usize = 2;
pub(crate) const INSTANCES: usize = 3;
pub(crate) const SERVERS: usize = MESSAGE_SERVERS + INSTANCES;
/// How long a server may take to drain. Shorter than in production, so that there is time for more faults.
const DRAIN: Duration = Duration::from_secs(3);
/// Longer than the drain.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// What a slow network adds in each direction.
const DELAY: Duration = Duration::from_millis(200);
/// Long enough that the replica has missed something when its master dies.
const REPLICA_LAG: Duration = Duration::from_millis(500);

/// The whole system as processes.
pub(crate) struct World {
    pub(crate) system: System,
    redis: RunningRedis,
    postgres: Option<PostgresServer>,
    /// The ports of the Redis servers that faults have taken down.
    struck: Vec<u16>,
}

enum RunningRedis {
    /// It belongs to the system.
    Standalone,
    Sentinel(RedisSentinels),
    Cluster(RedisCluster),
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
        let redis = match script.redis {
            Redis::Standalone => RunningRedis::Standalone,
            Redis::Sentinel => RunningRedis::Sentinel(RedisSentinels::start().await),
            Redis::Cluster => RunningRedis::Cluster(RedisCluster::start().await),
        };
        builder = match &redis {
            RunningRedis::Standalone => builder,
            RunningRedis::Sentinel(sentinels) => builder.redis_at(sentinels.url()),
            RunningRedis::Cluster(cluster) => builder.redis_at(cluster.url()),
        };
        Self { system: builder.start().await, redis, postgres, struck: Vec::new() }
    }

    /// Begins a fault.
    pub(crate) async fn strike(&mut self, strike: &Strike) {
        match strike.fault {
            Fault::MessageServerKill | Fault::InstanceKill => self.server(strike).kill(),
            Fault::MessageServerPause | Fault::InstancePause => self.server(strike).pause(),
            Fault::MessageServerDeploy | Fault::InstanceDeploy => self.server(strike).ask_to_stop(),
            Fault::RollingDeploy => self.deploy_all().await,
            Fault::RedisKill => self.strike_redis(strike, RedisServer::kill).await,
            Fault::RedisPause => self.strike_redis(strike, RedisServer::pause).await,
            Fault::RedisFlush => self.on_every_redis(&["FLUSHALL"]).await,
            Fault::RedisCutSubscribers => self.on_every_redis(&["CLIENT", "KILL", "TYPE", "pubsub"]).await,
            Fault::RedisCutPublishers => self.on_every_redis(&["CLIENT", "KILL", "TYPE", "normal"]).await,
            Fault::RedisFailover => {
                if let RunningRedis::Sentinel(sentinels) = &self.redis {
                    sentinels.failover().await;
                }
            }
            Fault::RedisLossyFailover => self.fail_over_with_loss().await,
            Fault::SentinelKill => {
                if let RunningRedis::Sentinel(sentinels) = &mut self.redis {
                    sentinels.sentinel(strike.target % 3).kill();
                }
            }
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
            Fault::MessageServerKill | Fault::InstanceKill => self.server(strike).restart().await,
            Fault::MessageServerDeploy | Fault::InstanceDeploy => restart_when_ended(self.server(strike)).await,
            Fault::RedisKill | Fault::RedisLossyFailover => {
                for port in std::mem::take(&mut self.struck) {
                    self.redis_on(port).restart().await;
                }
            }
            Fault::RedisPause => {
                for port in std::mem::take(&mut self.struck) {
                    self.redis_on(port).resume();
                }
            }
            Fault::SentinelKill => {
                if let RunningRedis::Sentinel(sentinels) = &mut self.redis {
                    sentinels.sentinel(strike.target % 3).restart().await;
                }
            }
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

    /// One of all servers, with its name: the message servers come first.
    pub(crate) fn any_server(&mut self, index: usize) -> (String, &mut Server) {
        match index.checked_sub(MESSAGE_SERVERS) {
            None => (format!("message server {index}"), self.system.message_server(index)),
            Some(instance) => (format!("instance {instance}"), self.system.websocket_server(instance)),
        }
    }

    fn server(&mut self, strike: &Strike) -> &mut Server {
        match strike.fault.part() {
            Part::MessageServer | Part::Publisher | Part::Senders | Part::MessageServerStorage => {
                self.system.message_server(strike.target % MESSAGE_SERVERS)
            }
            _ => self.system.websocket_server(strike.target % INSTANCES),
        }
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
            let (_, server) = self.any_server(index);
            server.ask_to_stop();
            restart_when_ended(server).await;
        }
    }

    async fn strike_redis(&mut self, strike: &Strike, change: impl Fn(&mut RedisServer)) {
        let server = match &mut self.redis {
            RunningRedis::Standalone => self.system.redis(),
            RunningRedis::Sentinel(sentinels) => sentinels.master().await,
            RunningRedis::Cluster(cluster) => cluster.node(strike.target % 3),
        };
        self.struck.push(server.port());
        change(server);
    }

    fn redis_on(&mut self, port: u16) -> &mut RedisServer {
        match &mut self.redis {
            RunningRedis::Standalone => self.system.redis(),
            RunningRedis::Sentinel(sentinels) => sentinels.server(port),
            RunningRedis::Cluster(cluster) => cluster.server(port),
        }
    }

    /// On a server that another fault has frozen or killed, it is not done.
    async fn on_every_redis(&mut self, command: &[&str]) {
        let servers = match &mut self.redis {
            RunningRedis::Standalone => vec![&*self.system.redis()],
            RunningRedis::Sentinel(sentinels) => vec![&*sentinels.master().await],
            RunningRedis::Cluster(cluster) => cluster.nodes().iter().collect(),
        };
        for server in servers {
            let _: Option<String> = server.try_execute(command).await;
        }
    }

    async fn fail_over_with_loss(&mut self) {
        let RunningRedis::Sentinel(sentinels) = &mut self.redis else { return };
        let master = sentinels.master_port().await;
        sentinels.replica().await.pause();
        tokio::time::sleep(REPLICA_LAG).await;
        sentinels.server(master).kill();
        sentinels.replica().await.resume();
        sentinels.until_master_is_not(master).await;
        self.struck.push(master);
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

/// A server that has not ended by itself is killed, as a supervisor does it.
async fn restart_when_ended(server: &mut Server) {
    let _ended = tokio::time::timeout(END_DEADLINE, async {
        while server.ended().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    server.restart().await;
}
