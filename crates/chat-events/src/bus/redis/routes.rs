//! Which connection a topic or a key is sent on.

use std::{collections::HashMap, sync::Arc};

use fred::types::config::Server;
use parking_lot::Mutex;
use tracing::error;

use super::{
    access::Access,
    line::{Line, Use},
    metrics::Metrics,
    scout::Scout,
    topology::Topology,
};

/// What goes out on one line, in order.
pub(super) type Group<T> = (Arc<Line>, Vec<T>);

/// The lines to all servers, for one use.
pub(super) struct Routes {
    access: Arc<Access>,
    for_use: Use,
    metrics: Metrics,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    topology: Option<Arc<Topology>>,
    lines: HashMap<Server, Arc<Line>>,
    /// The servers, or the connections to them, are others than before.
    changed: bool,
}

impl Routes {
    pub(super) fn new(access: Arc<Access>, for_use: Use, metrics: &Metrics) -> Arc<Self> {
        let routes = Arc::new(Self { access, for_use, metrics: metrics.clone(), table: Mutex::default() });
        let watched = Arc::downgrade(&routes);
        metrics.watch(move || watched.upgrade().is_some_and(|routes| routes.is_up()));
        routes
    }

    /// Has each topic a server, and does each server take what is sent?
    fn is_up(&self) -> bool {
        let table = self.table.lock();
        let is_whole = table.topology.as_ref().is_some_and(|topology| topology.is_whole());
        is_whole && table.lines.values().all(|line| line.is_free())
    }

    /// Follows the servers for as long as it is polled.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut scout = Scout::new(Arc::clone(&self.access));
        loop {
            let topology = scout.changed().await;
            self.follow_to(topology);
        }
    }

    fn follow_to(&self, topology: Arc<Topology>) {
        let mut table = self.table.lock();
        let wanted = topology.servers();
        table.lines.retain(|server, _| wanted.contains(server));
        for server in wanted {
            if !table.lines.contains_key(server) {
                self.open(&mut table, server);
            }
        }
        table.changed = true;
        table.topology = Some(topology);
    }

    /// All lines.
    pub(super) fn lines(&self) -> Vec<Arc<Line>> {
        self.renewed().lines.values().cloned().collect()
    }

    /// What each line is to carry, in the given order, and what no line can carry now. While a server is away nothing
    /// waits for it.
    pub(super) fn by_line<T>(&self, items: Vec<T>, name: impl Fn(&T) -> String) -> (Vec<Group<T>>, Vec<T>) {
        let table = self.renewed();
        let mut groups: HashMap<&Server, Vec<T>> = HashMap::new();
        let mut unreachable = Vec::new();
        for item in items {
            match table.topology.as_ref().and_then(|topology| topology.owner(|| name(&item))) {
                Some(server) => groups.entry(server).or_default().push(item),
                None => unreachable.push(item),
            }
        }
        let mut reachable = Vec::with_capacity(groups.len());
        for (server, group) in groups {
            match table.lines.get(server).filter(|line| line.is_free()) {
                Some(line) => reachable.push((Arc::clone(line), group)),
                None => unreachable.extend(group),
            }
        }
        (reachable, unreachable)
    }

    /// Has a connection or a server changed since this was asked last? What was written before may be gone then.
    pub(super) fn take_changed(&self) -> bool {
        let mut table = self.table.lock();
        // Each is asked, so that none says so again next time.
        let reconnected = table.lines.values().filter(|line| line.take_reconnected()).count();
        std::mem::take(&mut table.changed) || reconnected > 0
    }

    /// The table, after the lines that are dead were replaced.
    fn renewed(&self) -> parking_lot::MutexGuard<'_, Table> {
        let mut table = self.table.lock();
        let dead: Vec<_> =
            table.lines.iter().filter(|(_, line)| line.is_dead()).map(|(server, _)| server.clone()).collect();
        for server in dead {
            self.open(&mut table, &server);
        }
        table
    }

    fn open(&self, table: &mut Table, server: &Server) {
        match Line::open(&self.access, server, self.for_use, &self.metrics) {
            Ok(line) => {
                table.lines.insert(server.clone(), Arc::new(line));
                table.changed = true;
            }
            Err(reason) => error!(error = %reason, bus.server = %server, "a server cannot be connected to"),
        }
    }
}
