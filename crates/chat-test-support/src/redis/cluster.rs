//! Redis Cluster: three masters without replicas.

use std::time::Duration;

use super::{RedisServer, wire};
use crate::port::free_port;
use crate::wait::{wait_for, wait_until};

/// Three processes find each other in about a second; a loaded machine gets much more.
const DEADLINE: Duration = Duration::from_secs(30);
/// After so long a silence a node counts as failed.
const NODE_TIMEOUT_MS: u32 = 1_000;
const SLOTS: u16 = 16_384;

/// Three masters on 127.0.0.1 that share the slots and have no replicas: a node that is away takes its slots with it, and
/// the others go on with theirs. Killed when dropped.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: [RedisServer; 3],
}

impl RedisCluster {
    /// Starts the nodes, joins them, and waits until each of them knows that the Cluster is whole.
    ///
    /// # Panics
    /// When a node does not come up, or they do not find each other.
    pub async fn start() -> Self {
        let cluster = Self { nodes: [start_node().await, start_node().await, start_node().await] };
        let mut first_slot = 0;
        for (index, node) in (1_u16..).zip(&cluster.nodes) {
            let end = u16::try_from(u32::from(SLOTS) * u32::from(index) / 3).expect("it is one of the slots");
            expect_ok(node, &["CLUSTER", "SET-CONFIG-EPOCH", &index.to_string()]).await;
            expect_ok(node, &["CLUSTER", "ADDSLOTSRANGE", &first_slot.to_string(), &(end - 1).to_string()]).await;
            first_slot = end;
        }
        for node in &cluster.nodes {
            for other in cluster.nodes.iter().filter(|other| other.port() != node.port()) {
                let bus = bus_port(other).await;
                expect_ok(node, &["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string(), &bus]).await;
            }
        }
        cluster.until_ok().await;
        cluster
    }

    /// `redis-cluster://…` with all three nodes.
    #[must_use]
    pub fn url(&self) -> String {
        let [first, second, third] = &self.nodes;
        format!(
            "redis-cluster://127.0.0.1:{}?node=127.0.0.1:{}&node=127.0.0.1:{}",
            first.port(),
            second.port(),
            third.port()
        )
    }

    /// One of the three nodes, to break it.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node(&mut self, index: usize) -> &mut RedisServer {
        &mut self.nodes[index]
    }

    /// The one of the nodes that listens on `port`, whatever its role is.
    ///
    /// # Panics
    /// When there is none.
    pub fn server(&mut self, port: u16) -> &mut RedisServer {
        self.nodes.iter_mut().find(|server| server.port() == port).expect("a server of this system")
    }

    /// All nodes.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Waits until every node answers and finds the Cluster whole.
    ///
    /// # Panics
    /// When that does not happen.
    pub async fn until_ok(&self) {
        for node in &self.nodes {
            let what = format!("the node on port {} finds the cluster whole", node.port());
            wait_until(&what, DEADLINE, async || is_whole(node).await).await;
        }
    }

    /// Which living node has the slot of this key.
    ///
    /// # Panics
    /// When none of them has it.
    pub async fn owner_of(&self, key: &str) -> usize {
        let [first, second, third] = &self.nodes;
        wait_for("the owner of a slot is known", DEADLINE, async || {
            tokio::select! {
                true = owns(first, key) => Some(0),
                true = owns(second, key) => Some(1),
                true = owns(third, key) => Some(2),
                else => None,
            }
        })
        .await
    }

    /// Gives the empty slot of this key to another node while clients are connected, as a resharding does. The old owner
    /// pushes `sunsubscribe` to who heard a topic in it.
    ///
    /// # Panics
    /// When a node refuses, or the others do not learn of it.
    pub async fn move_slot_of(&self, key: &str, to: usize) {
        let slot = self.nodes[0].execute(&["CLUSTER", "KEYSLOT", key]).await;
        let slot = slot.trim_start_matches(':').trim_end();
        let id = self.nodes[to].execute(&["CLUSTER", "MYID"]).await;
        let id = id.lines().nth(1).expect("an id is a bulk string").to_owned();
        // The new owner first, so that there is always one.
        expect_ok(&self.nodes[to], &["CLUSTER", "SETSLOT", slot, "NODE", &id]).await;
        for node in self.nodes.iter().filter(|node| node.port() != self.nodes[to].port()) {
            expect_ok(node, &["CLUSTER", "SETSLOT", slot, "NODE", &id]).await;
        }
    }
}

async fn start_node() -> RedisServer {
    // Redis's own choice, the port plus 10 000, may be beyond the last port.
    RedisServer::start_with(|_| {
        format!(
            "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-node-timeout {NODE_TIMEOUT_MS}\n\
             cluster-require-full-coverage no\ncluster-port {}\n",
            free_port()
        )
    })
    .await
}

async fn owns(node: &RedisServer, key: &str) -> bool {
    // A node answers what is its own, and MOVED for the rest.
    node.try_execute(&["EXISTS", key]).await.is_some_and(|reply| reply.starts_with(':'))
}

async fn bus_port(node: &RedisServer) -> String {
    let reply = node.execute(&["CONFIG", "GET", "cluster-port"]).await;
    reply.trim_end().lines().last().expect("CONFIG GET answers").to_owned()
}

async fn is_whole(node: &RedisServer) -> bool {
    let Some(info) = wire::execute(node.port(), &["CLUSTER", "INFO"]).await else { return false };
    ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3", "cluster_size:3"]
        .iter()
        .all(|line| info.lines().any(|other| other == *line))
}

async fn expect_ok(node: &RedisServer, arguments: &[&str]) {
    let reply = node.execute(arguments).await;
    assert_eq!(reply, "+OK\r\n", "{arguments:?}\n{}", node.log_tail());
}
