use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use fred::types::config::Server;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    RedisConfig, access::Access, line::Line, metrics::Metrics, not_connected, scout::Scout, topology::Topology,
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
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), BusError> {
        let access = Arc::new(Access::new(config)?);
        let routes =
            Arc::new(Routes { access: Arc::clone(&access), metrics: metrics.clone(), table: Mutex::default() });
        let watched = Arc::downgrade(&routes);
        routes.metrics.watch(move || watched.upgrade().is_some_and(|routes| routes.is_up()));
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
        let lines = self.routes.lines();
        if lines.is_empty() {
            return Err(not_connected());
        }
        let answers = join_all(lines.iter().map(|line| line.ping())).await;
        answers.into_iter().collect()
    }

    async fn close(&self) {
        join_all(self.routes.lines().iter().map(|line| line.close())).await;
    }
}

/// What goes out on one line, in order.
type Group = (Arc<Line>, Vec<Publication>);

/// Which line a topic is published on.
struct Routes {
    access: Arc<Access>,
    metrics: Metrics,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    topology: Option<Arc<Topology>>,
    lines: HashMap<Server, Arc<Line>>,
}

impl Routes {
    async fn follow(self: Arc<Self>, mut scout: Scout) {
        loop {
            let topology = scout.changed().await;
            self.table.lock().follow(topology, &self.access, &self.metrics);
        }
    }

    fn lines(&self) -> Vec<Arc<Line>> {
        let mut table = self.table.lock();
        table.renew(&self.access, &self.metrics);
        table.lines.values().cloned().collect()
    }

    /// Has each topic a server, and does each server take publications?
    fn is_up(&self) -> bool {
        let table = self.table.lock();
        let is_whole = table.topology.as_ref().is_some_and(|topology| topology.is_whole());
        is_whole && table.lines.values().all(|line| line.is_free())
    }

    async fn publish(&self, batch: Vec<Publication>) -> Result<(), BusError> {
        let (groups, unreachable) = self.by_line(batch);
        let sent = join_all(groups.iter().map(|(line, group)| line.publish(group))).await;
        let refused = unreachable.then(|| Err(not_connected()));
        sent.into_iter().chain(refused).collect()
    }

    /// The publications of each line, in the given order, and whether some have none.
    fn by_line(&self, batch: Vec<Publication>) -> (Vec<Group>, bool) {
        let mut table = self.table.lock();
        table.renew(&self.access, &self.metrics);
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
            // While a server is away nothing waits for it: the log has the events, and readers look there.
            match table.lines.get(server).filter(|line| line.is_free()) {
                Some(line) => reachable.push((Arc::clone(line), group)),
                None => unreachable = true,
            }
        }
        (reachable, unreachable)
    }
}

impl Table {
    fn follow(&mut self, topology: Arc<Topology>, access: &Access, metrics: &Metrics) {
        let wanted = topology.servers();
        self.lines.retain(|server, _| wanted.contains(server));
        for server in wanted {
            if !self.lines.contains_key(server) {
                self.open(server, access, metrics);
            }
        }
        self.topology = Some(topology);
    }

    /// Replaces the lines that are dead.
    fn renew(&mut self, access: &Access, metrics: &Metrics) {
        let dead: Vec<_> =
            self.lines.iter().filter(|(_, line)| line.is_dead()).map(|(server, _)| server.clone()).collect();
        for server in dead {
            self.open(&server, access, metrics);
        }
    }

    fn open(&mut self, server: &Server, access: &Access, metrics: &Metrics) {
        match Line::open(access, server, metrics) {
            Ok(line) => drop(self.lines.insert(server.clone(), Arc::new(line))),
            Err(reason) => error!(error = %reason, bus.server = %server, "a server cannot be published to"),
        }
    }
}
