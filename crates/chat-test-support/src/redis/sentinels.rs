//! A master, a replica, and three Sentinels that watch them.

use std::time::Duration;

use super::{Mode, PORT_ATTEMPTS, RedisServer};
use crate::port::free_port;
use crate::wait::{wait_for, wait_until};

/// A failover takes three to five seconds; a loaded machine gets much more.
const DEADLINE: Duration = Duration::from_secs(60);
/// One that does not answer so soon may be frozen, and the others are enough.
const PATIENCE: Duration = Duration::from_millis(500);
const SERVICE: &str = "chat";
/// A server that is silent for so long counts as down.
const DOWN_AFTER_MS: u32 = 1_000;
const FAILOVER_TIMEOUT_MS: u32 = 5_000;
const QUORUM: usize = 2;

/// A master and a replica on 127.0.0.1 and three Sentinels with a quorum of two. Killed when dropped.
///
/// After a failover Sentinel makes the former master a replica of the new one, which takes it about ten seconds; until then
/// that one still takes commands as a master, as in production.
#[derive(Debug)]
pub struct RedisSentinels {
    servers: [RedisServer; 2],
    sentinels: [RedisServer; 3],
}

impl RedisSentinels {
    /// Starts all five and waits until the replica is in sync and the Sentinels agree.
    ///
    /// # Panics
    /// When one does not come up, or they do not find each other.
    pub async fn start() -> Self {
        // Redis's own choice is to wait five seconds for more replicas before a first synchronisation.
        let common = "repl-diskless-sync-delay 0\nrepl-timeout 5\n";
        let master = RedisServer::start_with(|_| common.to_owned()).await;
        let replica = RedisServer::start_with(|_| format!("{common}replicaof 127.0.0.1 {}\n", master.port())).await;
        until_in_sync(&replica).await;
        let sentinels = start_sentinels(master.port(), replica.port()).await;
        let trio = Self { servers: [master, replica], sentinels };
        for sentinel in &trio.sentinels {
            wait_until("a Sentinel is able to fail over", DEADLINE, async || {
                let quorum = sentinel.execute(&["SENTINEL", "CKQUORUM", SERVICE]).await;
                let replicas = sentinel.execute(&["SENTINEL", "REPLICAS", SERVICE]).await;
                quorum.starts_with("+OK 3 usable") && replicas.contains("master-link-status\r\n$2\r\nok")
            })
            .await;
        }
        trio
    }

    /// `redis-sentinel://…` with all three Sentinels.
    #[must_use]
    pub fn url(&self) -> String {
        let [first, second, third] = &self.sentinels;
        format!(
            "redis-sentinel://127.0.0.1:{}?node=127.0.0.1:{}&node=127.0.0.1:{}&sentinelServiceName={SERVICE}",
            first.port(),
            second.port(),
            third.port()
        )
    }

    /// The server that the Sentinels call the master now, dead or alive.
    ///
    /// # Panics
    /// When they do not agree.
    pub async fn master(&mut self) -> &mut RedisServer {
        let port = self.master_port().await;
        self.server(port)
    }

    /// The other one.
    ///
    /// # Panics
    /// When the Sentinels do not agree.
    pub async fn replica(&mut self) -> &mut RedisServer {
        let port = self.master_port().await;
        self.servers.iter_mut().find(|server| server.port() != port).expect("one of the two is the replica")
    }

    /// Both servers.
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The one of the two servers that listens on `port`, whatever its role is.
    ///
    /// # Panics
    /// When there is none.
    pub fn server(&mut self, port: u16) -> &mut RedisServer {
        self.servers.iter_mut().find(|server| server.port() == port).expect("a server of this system")
    }

    /// One of the three Sentinels, to break it.
    ///
    /// # Panics
    /// When there is no such Sentinel.
    pub fn sentinel(&mut self, index: usize) -> &mut RedisServer {
        &mut self.sentinels[index]
    }

    /// The port of the server that a quorum of Sentinels calls the master, dead or alive.
    ///
    /// # Panics
    /// When they do not agree.
    pub async fn master_port(&self) -> u16 {
        wait_for("the Sentinels agree on the master", DEADLINE, async || {
            let [first, second, third] = &self.sentinels;
            let named = tokio::join!(master_named_by(first), master_named_by(second), master_named_by(third));
            let named = [named.0, named.1, named.2];
            let named_by = |port| named.iter().filter(|other| **other == Some(port)).count();
            named.into_iter().flatten().find(|port| named_by(*port) >= QUORUM)
        })
        .await
    }

    /// Has the Sentinels fail over as an operator would, and waits until the former replica is the master.
    ///
    /// # Panics
    /// When that does not happen.
    pub async fn failover(&self) {
        let former = self.master_port().await;
        wait_until("a Sentinel takes the order to fail over", DEADLINE, async || {
            let reply = self.sentinels[0].execute(&["SENTINEL", "FAILOVER", SERVICE]).await;
            assert!(!reply.starts_with("-ERR"), "{reply}");
            reply == "+OK\r\n"
        })
        .await;
        self.until_master_is_not(former).await;
    }

    /// Waits until the Sentinels call another server the master than the one on `port`, and it is one.
    ///
    /// # Panics
    /// When that does not happen.
    pub async fn until_master_is_not(&self, port: u16) {
        wait_until("there is another master", DEADLINE, async || {
            let master = self.master_port().await;
            let server = self.servers.iter().find(|server| server.port() == master);
            master != port && is_role(server.expect("one of the two"), "master").await
        })
        .await;
    }

    /// Waits until the other server follows the master again, with all its data.
    ///
    /// # Panics
    /// When that does not happen.
    pub async fn until_replica_follows(&self) {
        wait_until("the replica follows its master", DEADLINE, async || {
            // Asked each time: on a loaded machine the Sentinels may fail over once more.
            let master = self.master_port().await;
            let replica = self.servers.iter().find(|server| server.port() != master);
            is_in_sync(replica.expect("one of the two is the replica")).await
        })
        .await;
    }
}

async fn start_sentinels(master: u16, replica: u16) -> [RedisServer; 3] {
    for _ in 0..PORT_ATTEMPTS {
        let ports = [free_port(), free_port(), free_port()];
        // They are told of each other, which they would find out by themselves only within some seconds.
        let start = |index: usize| {
            let mut directives = format!(
                "sentinel myid {}\nsentinel monitor {SERVICE} 127.0.0.1 {master} {QUORUM}\n\
                 sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n\
                 sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT_MS}\n\
                 sentinel known-replica {SERVICE} 127.0.0.1 {replica}\n",
                id(ports[index])
            );
            for port in ports.into_iter().filter(|port| *port != ports[index]) {
                directives += &format!("sentinel known-sentinel {SERVICE} 127.0.0.1 {port} {}\n", id(port));
            }
            async move { RedisServer::start_on(ports[index], Mode::Sentinel, &directives).await }
        };
        if let (Some(first), Some(second), Some(third)) = tokio::join!(start(0), start(1), start(2)) {
            return [first, second, third];
        }
    }
    panic!("Sentinel found its port taken {PORT_ATTEMPTS} times in a row");
}

/// A Sentinel's id: 40 hexadecimal digits.
fn id(port: u16) -> String {
    format!("{port:040x}")
}

async fn master_named_by(sentinel: &RedisServer) -> Option<u16> {
    let question = sentinel.try_execute(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
    let reply = tokio::time::timeout(PATIENCE, question).await.ok()??;
    reply.trim_end().lines().last()?.parse().ok()
}

async fn until_in_sync(replica: &RedisServer) {
    wait_until("the replica follows its master", DEADLINE, async || is_in_sync(replica).await).await;
}

async fn is_in_sync(replica: &RedisServer) -> bool {
    let info = replica.try_execute(&["INFO", "replication"]).await.unwrap_or_default();
    info.contains("role:slave\r\n") && info.contains("master_link_status:up\r\n")
}

async fn is_role(server: &RedisServer, role: &str) -> bool {
    let info = server.try_execute(&["INFO", "replication"]).await.unwrap_or_default();
    info.contains(&format!("role:{role}\r\n"))
}
