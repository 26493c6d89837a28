//! Finds out which server has what, and when that changes.

use std::{future::pending, sync::Arc, time::Duration};

use fred::{
    error::Error,
    interfaces::ClientLike,
    types::{CustomCommand, Value, config::Server},
};
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{info, warn};

use super::{
    access::{Access, Connection, Place},
    topology::Topology,
};

/// How often Sentinels or nodes are asked. A failover or a resharding goes unnoticed for so long: Redis tells nobody who
/// is connected to a server that is none any more, and a former master takes publications that nobody hears.
const INTERVAL: Duration = Duration::from_secs(1);

/// Asks one Sentinel or node at a time, another one as soon as it does not answer.
pub(super) struct Scout {
    access: Arc<Access>,
    known: Option<Arc<Topology>>,
    sources: Vec<Server>,
    /// The source that is asked.
    current: usize,
    connection: Option<Connection>,
    interval: Interval,
    blind: bool,
}

impl Scout {
    pub(super) fn new(access: Arc<Access>) -> Self {
        let sources = match &access.place {
            Place::One(_) => Vec::new(),
            Place::Sentinels { sentinels, .. } => sentinels.clone(),
            Place::Cluster(nodes) => nodes.clone(),
        };
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { access, known: None, sources, current: 0, connection: None, interval, blind: false }
    }

    /// Waits until something else is known than was returned last. It may be dropped and called again.
    pub(super) async fn changed(&mut self) -> Arc<Topology> {
        loop {
            let Some(topology) = self.look().await else { continue };
            if self.known.as_deref() != Some(&topology) {
                let topology = Arc::new(topology);
                self.remember(&topology);
                return topology;
            }
        }
    }

    async fn look(&mut self) -> Option<Topology> {
        if let Place::One(server) = &self.access.place {
            return if self.known.is_none() { Some(Topology::single(server.clone())) } else { pending().await };
        }
        self.interval.tick().await;
        for _ in 0..self.sources.len() {
            match self.ask().await {
                Ok(topology) => {
                    self.found();
                    return Some(topology);
                }
                Err(reason) => {
                    self.missed(&reason);
                    self.connection = None;
                    self.current = (self.current + 1) % self.sources.len();
                }
            }
        }
        None
    }

    async fn ask(&mut self) -> Result<Topology, String> {
        let told = |error: Error| error.details().to_owned();
        let source = &self.sources[self.current];
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.access.asking(source).await.map_err(told)?),
        };
        match &self.access.place {
            Place::One(server) => Ok(Topology::single(server.clone())),
            Place::Sentinels { service, .. } => {
                let command = CustomCommand::new_static("SENTINEL", None::<u16>, false);
                let arguments = vec!["GET-MASTER-ADDR-BY-NAME".to_owned(), service.clone()];
                let reply: Option<(String, u16)> = connection.client.custom(command, arguments).await.map_err(told)?;
                let (host, port) = reply.ok_or_else(|| format!("{source} knows no service named {service}"))?;
                Ok(Topology::single(Server::new(host, port)))
            }
            Place::Cluster(_) => {
                let command = CustomCommand::new_static("CLUSTER", None::<u16>, false);
                let reply: Value = connection.client.custom(command, vec!["SLOTS".to_owned()]).await.map_err(told)?;
                Topology::from_slots(reply, &source.host).ok_or_else(|| format!("{source} has no CLUSTER SLOTS"))
            }
        }
    }

    fn remember(&mut self, topology: &Arc<Topology>) {
        self.known = Some(Arc::clone(topology));
        let Place::Cluster(nodes) = &self.access.place else { return };
        // The nodes in the URL may all be replaced one day. The one that is being asked stays the one.
        let asked = self.sources.swap_remove(self.current);
        let all = topology.servers().into_iter().chain(nodes).cloned();
        self.sources = vec![asked];
        for server in all {
            if !self.sources.contains(&server) {
                self.sources.push(server);
            }
        }
        self.current = 0;
    }

    fn found(&mut self) {
        if std::mem::take(&mut self.blind) {
            info!("a Sentinel or node answers again");
        }
    }

    /// One that does not answer is worth a line once, until one answers again.
    fn missed(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.blind, true) {
            warn!(bus.reason = reason, "a Sentinel or node does not tell where the servers are, asking another one");
        }
    }
}
