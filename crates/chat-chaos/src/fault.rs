//! What can be done to a running system.

use clap::ValueEnum;
use serde::Serialize;

/// Where the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Storage {
    Sqlite,
    Postgres,
}

/// How Redis is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Redis {
    /// One server; each chat server reaches it through a network of its own that can be broken.
    Standalone,
    /// A master, a replica and three Sentinels.
    Sentinel,
    /// Three masters.
    Cluster,
}

/// A fault. It begins, lasts, and is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// SIGKILL of a message server, started again at the end.
    MessageServerKill,
    /// SIGSTOP of a message server, SIGCONT at the end.
    MessageServerPause,
    /// SIGTERM of a message server, as in a deploy, started again at the end.
    MessageServerDeploy,
    /// SIGKILL of an instance.
    InstanceKill,
    /// SIGSTOP of an instance.
    InstancePause,
    /// SIGTERM of an instance.
    InstanceDeploy,
    /// All servers are deployed one after the other.
    RollingDeploy,
    /// SIGKILL of Redis (of a master, with Sentinel or Cluster); it comes back empty.
    RedisKill,
    /// SIGSTOP of Redis (of a master).
    RedisPause,
    /// FLUSHALL on every master.
    RedisFlush,
    /// CLIENT KILL of all connections that subscribe.
    RedisCutSubscribers,
    /// CLIENT KILL of all other connections.
    RedisCutPublishers,
    /// An orderly failover by Sentinel.
    RedisFailover,
    /// The master dies while its replica is cut off: acknowledged writes are lost, and Sentinel promotes the replica.
    RedisLossyFailover,
    /// A Sentinel is killed.
    SentinelKill,
    /// The network between a message server and Redis resets and refuses connections.
    PublisherCut,
    /// The network between a message server and Redis swallows everything.
    PublisherStall,
    /// The network between a message server and Redis is slow.
    PublisherDelay,
    /// The network between an instance and Redis resets and refuses connections.
    SubscriberCut,
    /// The network between an instance and Redis swallows everything.
    SubscriberStall,
    /// The network between an instance and Redis is slow.
    SubscriberDelay,
    /// The network between users and an instance resets and refuses connections.
    ListenersCut,
    /// The network between users and an instance swallows everything.
    ListenersStall,
    /// The network between users and an instance is slow.
    ListenersDelay,
    /// The network between users and a message server resets and refuses connections: answers are lost.
    SendersCut,
    /// The network between users and a message server swallows everything.
    SendersStall,
    /// SIGKILL of PostgreSQL, which recovers at the end.
    PostgresKill,
    /// PostgreSQL is restarted as an administrator does it, at once.
    PostgresRestart,
    /// SIGSTOP of PostgreSQL with all its backends.
    PostgresPause,
    /// The network between an instance and PostgreSQL resets and refuses connections.
    InstanceStorageCut,
    /// The network between an instance and PostgreSQL swallows everything.
    InstanceStorageStall,
    /// The network between a message server and PostgreSQL resets and refuses connections.
    MessageServerStorageCut,
    /// The network between a message server and PostgreSQL swallows everything.
    MessageServerStorageStall,
    /// The network between a message server and PostgreSQL is slow.
    MessageServerStorageDelay,
}

/// What a fault is done to: two faults of one part are not done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    MessageServer,
    Instance,
    AllServers,
    Redis,
    Publisher,
    Subscriber,
    Listeners,
    Senders,
    Postgres,
    InstanceStorage,
    MessageServerStorage,
}

impl Fault {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(crate) const fn part(self) -> Part {
        match self {
            Self::MessageServerKill | Self::MessageServerPause | Self::MessageServerDeploy => Part::MessageServer,
            Self::InstanceKill | Self::InstancePause | Self::InstanceDeploy => Part::Instance,
            Self::RollingDeploy => Part::AllServers,
            Self::RedisKill
            | Self::RedisPause
            | Self::RedisFlush
            | Self::RedisCutSubscribers
            | Self::RedisCutPublishers
            | Self::RedisFailover
            | Self::RedisLossyFailover
            | Self::SentinelKill => Part::Redis,
            Self::PublisherCut | Self::PublisherStall | Self::PublisherDelay => Part::Publisher,
            Self::SubscriberCut | Self::SubscriberStall | Self::SubscriberDelay => Part::Subscriber,
            Self::ListenersCut | Self::ListenersStall | Self::ListenersDelay => Part::Listeners,
            Self::SendersCut | Self::SendersStall => Part::Senders,
            Self::PostgresKill | Self::PostgresRestart | Self::PostgresPause => Part::Postgres,
            Self::InstanceStorageCut | Self::InstanceStorageStall => Part::InstanceStorage,
            Self::MessageServerStorageCut | Self::MessageServerStorageStall | Self::MessageServerStorageDelay => {
                Part::MessageServerStorage
            }
        }
    }

    /// Is it done to a network between two parts, which has to be there then?
    pub(crate) const fn needs_links(self) -> bool {
        matches!(
            self.part(),
            Part::Publisher
                | Part::Subscriber
                | Part::Listeners
                | Part::Senders
                | Part::InstanceStorage
                | Part::MessageServerStorage
        )
    }

    /// Can it be done to such a system?
    pub(crate) fn applies(self, storage: Storage, redis: Redis) -> bool {
        match self {
            Self::RedisFailover | Self::RedisLossyFailover | Self::SentinelKill => redis == Redis::Sentinel,
            _ => match self.part() {
                Part::Publisher | Part::Subscriber => redis == Redis::Standalone,
                Part::Postgres | Part::InstanceStorage | Part::MessageServerStorage => storage == Storage::Postgres,
                _ => true,
            },
        }
    }
}

impl Part {
    /// Is a server started again when the fault is healed? That needs storage.
    pub(crate) const fn restarts_servers(self) -> bool {
        matches!(self, Self::MessageServer | Self::Instance | Self::AllServers)
    }

    /// Is storage out of reach for a server?
    pub(crate) const fn takes_storage_away(self) -> bool {
        matches!(self, Self::Postgres | Self::InstanceStorage | Self::MessageServerStorage)
    }

    /// May both be broken at once?
    pub(crate) fn may_meet(self, other: Self) -> bool {
        // A rolling deploy waits until each server is ready again.
        self != other && self != Self::AllServers && other != Self::AllServers
    }
}
