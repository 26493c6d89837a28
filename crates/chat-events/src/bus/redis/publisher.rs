use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use fred::{
    interfaces::{ClientLike, PubsubInterface},
    types::{Value, config::Server},
};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    RedisConfig,
    access::{Access, Connection},
    scout::Scout,
    topology::Topology,
    unavailable,
};
use crate::bus::{BusError, Publication, Publisher};

/// Most payloads that go out in one pipeline, which bounds what one call keeps in memory.
const PIPELINE: usize = 512;

/// The sending side of the bus over Redis.
pub struct RedisPublisher {
    routes: Arc<Routes>,
}

impl RedisPublisher {
    /// A publisher that connects in the background, again whenever a connection is lost, and to another server when that
    /// one has become the master or the owner of a topic's slot. It follows the servers as long as the returned future is
    /// polled, until `stop`; after that it publishes on the connections that it has.
    pub fn connect(
        config: &RedisConfig,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), BusError> {
        let access = Arc::new(Access::new(config)?);
        let routes = Arc::new(Routes { access: Arc::clone(&access), table: Mutex::default() });
        let follow = Arc::clone(&routes).follow(Scout::new(access));
        let run = async move {
            stop.run_until_cancelled(follow).await;
        };
        Ok((Self { routes }, run))
    }
}

#[async_trait]
impl Publisher for RedisPublisher {
    async fn publish(&self, mut batch: Vec<Publication>) -> Result<(), BusError> {
        let mut outcome = Ok(());
        while !batch.is_empty() {
            let rest = batch.split_off(batch.len().min(PIPELINE));
            // What cannot be reached keeps nothing from those that can.
            outcome = outcome.and(self.routes.publish(batch).await);
            batch = rest;
        }
        outcome
    }

    async fn ping(&self) -> Result<(), BusError> {
        let connections = self.routes.connections();
        if connections.is_empty() {
            return Err(BusError::Unavailable("not connected".into()));
        }
        let answers = join_all(connections.iter().map(|connection| connection.ping())).await;
        answers.into_iter().collect()
    }

    async fn close(&self) {
        join_all(self.routes.connections().iter().map(|connection| connection.close())).await;
    }
}

/// What goes out on one connection, in order.
type Group = (Arc<Connection>, Vec<Publication>);

/// Which connection a topic is published on.
struct Routes {
    access: Arc<Access>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    topology: Option<Arc<Topology>>,
    connections: HashMap<Server, Arc<Connection>>,
}

impl Routes {
    async fn follow(self: Arc<Self>, mut scout: Scout) {
        loop {
            let topology = scout.changed().await;
            let mut table = self.table.lock();
            let wanted = topology.servers();
            table.connections.retain(|server, _| wanted.contains(server));
            for server in wanted {
                if table.connections.contains_key(server) {
                    continue;
                }
                match self.access.publishing(server) {
                    Ok(connection) => drop(table.connections.insert(server.clone(), Arc::new(connection))),
                    Err(reason) => error!(error = %reason, bus.server = %server, "a server cannot be published to"),
                }
            }
            table.topology = Some(Arc::clone(&topology));
        }
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        self.table.lock().connections.values().cloned().collect()
    }

    async fn publish(&self, batch: Vec<Publication>) -> Result<(), BusError> {
        let (groups, unreachable) = self.by_connection(batch);
        let sharded = self.access.is_cluster();
        let sent = join_all(groups.iter().map(|(connection, group)| connection.publish(group, sharded))).await;
        let refused = unreachable.then_some(Err(BusError::Unavailable("not connected".into())));
        sent.into_iter().chain(refused).collect()
    }

    /// The publications of each connection, in the given order, and whether some have none.
    fn by_connection(&self, batch: Vec<Publication>) -> (Vec<Group>, bool) {
        let table = self.table.lock();
        let mut groups: HashMap<&Server, Vec<Publication>> = HashMap::new();
        let mut unreachable = false;
        for publication in batch {
            match table.topology.as_ref().and_then(|topology| topology.owner(publication.topic)) {
                Some(server) => groups.entry(server).or_default().push(publication),
                None => unreachable = true,
            }
        }
        let mut reachable = Vec::with_capacity(groups.len());
        for (server, group) in groups {
            // While Redis is away nothing waits for it: the log has the events, and readers look there.
            match table.connections.get(server).filter(|connection| connection.client.is_connected()) {
                Some(connection) => reachable.push((Arc::clone(connection), group)),
                None => unreachable = true,
            }
        }
        (reachable, unreachable)
    }
}

impl Connection {
    async fn publish(&self, batch: &[Publication], sharded: bool) -> Result<(), BusError> {
        let pipeline = self.client.pipeline();
        for Publication { topic, payload } in batch {
            let (topic, payload) = (topic.to_string(), Value::Bytes(payload.clone()));
            let queued = match sharded {
                true => pipeline.spublish::<(), _, _>(topic, payload).await,
                false => pipeline.publish::<(), _, _>(topic, payload).await,
            };
            queued.map_err(|error| unavailable(&error))?;
        }
        pipeline.all::<Vec<Value>>().await.map(drop).map_err(|error| unavailable(&error))
    }

    async fn ping(&self) -> Result<(), BusError> {
        if !self.client.is_connected() {
            return Err(BusError::Unavailable("not connected".into()));
        }
        self.client.ping::<()>(None).await.map_err(|error| unavailable(&error))
    }
}
