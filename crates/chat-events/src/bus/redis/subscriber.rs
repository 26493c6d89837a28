use std::{collections::HashMap, sync::Arc};

use fred::{interfaces::EventInterface, types::config::Server};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    RedisConfig,
    access::{Access, Connection},
    keeper::{Keeper, MOVED},
    metrics::{Instruments, Metrics},
    reader,
    scout::Scout,
    status::{Part, Status},
    topology::Topology,
};
use crate::{
    Topic,
    bus::{
        BusError, Interest, Sink, Subscriber,
        interest::{Interests, LinkId},
    },
};

/// The hearing side of the bus over Redis.
pub struct RedisSubscriber {
    interests: Arc<Interests>,
    status: Arc<Status>,
}

impl RedisSubscriber {
    /// A subscriber that connects in the background. It lives as long as the returned future is polled, until `stop`.
    pub fn connect(
        config: &RedisConfig,
        metrics: &Metrics,
        sink: Sink,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), BusError> {
        let access = Arc::new(Access::new(config)?);
        let (interests, sink) = (Interests::new(config.linger), Arc::new(sink));
        let status = Arc::new(Status::new(Arc::clone(&sink)));
        let watched = Arc::downgrade(&status);
        metrics.watch(move || watched.upgrade().is_some_and(|status| status.is_hearing()));
        let links = Links {
            access,
            interests: Arc::clone(&interests),
            status: Arc::clone(&status),
            sink,
            pinging: metrics.instruments("ping"),
            open: HashMap::new(),
            last: 0,
            tasks: JoinSet::new(),
        };
        Ok((Self { interests, status }, links.run(stop)))
    }

    /// Is everything connected, and every topic heard?
    pub fn is_connected(&self) -> bool {
        self.status.is_hearing()
    }
}

impl Subscriber for RedisSubscriber {
    fn interest(&self, topic: Topic) -> Interest {
        self.interests.add(topic)
    }
}

/// The same number of links to each server that has topics: the only one, the current master, or each master of a Cluster.
/// Each has its own task, so that a server that hangs holds up its own topics only, and a share of the server's topics.
struct Links {
    access: Arc<Access>,
    interests: Arc<Interests>,
    status: Arc<Status>,
    sink: Arc<Sink>,
    pinging: Instruments,
    open: HashMap<Server, Vec<Link>>,
    last: LinkId,
    tasks: JoinSet<()>,
}

/// A link that runs until it is cancelled.
struct Link {
    id: LinkId,
    stop: CancellationToken,
}

impl Links {
    async fn run(mut self, stop: CancellationToken) {
        let mut scout = Scout::new(Arc::clone(&self.access));
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                topology = scout.changed() => self.follow(topology, &stop),
                Some(ended) = self.tasks.join_next() => propagate(ended),
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            propagate(ended);
        }
    }

    fn follow(&mut self, topology: Arc<Topology>, stop: &CancellationToken) {
        let wanted = topology.servers();
        let gone: Vec<_> = self.open.keys().filter(|server| !wanted.contains(server)).cloned().collect();
        for server in &wanted {
            if !self.open.contains_key(server) {
                self.open_all(server, stop);
            }
        }
        let whole = topology.is_whole() && wanted.iter().all(|server| self.open.contains_key(server));
        if !whole {
            self.status.lost(Part::Topology, "some topics have no server");
        }
        let gone: Vec<_> = gone.iter().filter_map(|server| self.open.remove(server)).flatten().collect();
        let ids = |links: &[Link]| links.iter().map(|link| link.id).collect::<Vec<_>>();
        let routes: HashMap<_, _> = self.open.iter().map(|(server, links)| (server.clone(), ids(links))).collect();
        let route = move |topic: Topic| {
            let links = routes.get(topology.owner(|| topic.to_string())?)?;
            links.get(topic.share(links.len())).copied()
        };
        for link in self.interests.reroute(Box::new(route)) {
            // Lost first, so that the keeper's word comes after it, and before the topology counts as settled.
            self.status.lost(Part::Link(link), MOVED);
            self.interests.with(|table| table.set_moved(link));
        }
        for Link { id, stop } in gone {
            stop.cancel();
            self.interests.close(id);
            self.status.forget(Part::Link(id));
        }
        if whole {
            self.status.settled(Part::Topology);
        }
    }

    fn open_all(&mut self, server: &Server, stop: &CancellationToken) {
        let connections = 0..self.access.subscriber_connections;
        match connections.map(|_| self.access.subscribing(server)).collect::<Result<Vec<_>, _>>() {
            Ok(connections) => {
                let links = connections.into_iter().map(|connection| self.open(connection, stop)).collect();
                self.open.insert(server.clone(), links);
            }
            Err(reason) => error!(error = %reason, bus.server = %server, "a server cannot be subscribed to"),
        }
    }

    fn open(&mut self, connection: Connection, stop: &CancellationToken) -> Link {
        self.last += 1;
        let link = Link { id: self.last, stop: stop.child_token() };
        self.status.need(Part::Link(link.id), "another server has topics");
        self.interests.open(link.id);
        let read = reader::run(connection.client.message_rx(), Arc::clone(&self.sink), link.stop.clone());
        let keeper = Keeper::new(
            link.id,
            connection,
            Arc::clone(&self.interests),
            Arc::clone(&self.status),
            self.pinging.clone(),
            &self.access,
        );
        let keep = keeper.run(link.stop.clone());
        self.tasks.spawn(async {
            tokio::join!(read, keep);
        });
        link
    }
}

/// A link that panicked makes its owner panic: without it topics would be silent.
fn propagate(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}
