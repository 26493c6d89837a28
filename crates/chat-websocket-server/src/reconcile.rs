//! Compares the heads of all open rooms with the log, so that nothing is missed that the bus was silent about: a lost
//! last event, a publisher that died between commit and publish, or Redis away altogether.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chat_domain::{ChannelId, ports::Storage};
use rand::RngExt;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    hub::Directory,
    metrics::Metrics,
    room::{RoomHandle, control::Control},
};

/// Most rooms in one query.
const ROOMS_PER_QUERY: usize = 1_000;
/// Comparisons that are asked for come at least this far apart, however often they are asked for.
const SHORTEST: Duration = Duration::from_millis(50);

/// How often heads are compared.
#[derive(Clone, Copy, Debug)]
pub struct ReconcileLimits {
    /// While the bus lives.
    pub interval: Duration,
    /// While the bus is known to be away.
    pub interval_without_bus: Duration,
}

/// Compares heads for as long as it is polled: at each interval, jittered, and whenever the directory asks for it.
pub async fn run(directory: Arc<Directory>, storage: Arc<dyn Storage>, metrics: Arc<Metrics>, limits: ReconcileLimits) {
    loop {
        let interval = if directory.bus_lost() { limits.interval_without_bus } else { limits.interval };
        // Instances that started together do not ask together.
        let jittered = interval.mul_f64(rand::rng().random_range(0.75..1.25));
        let started = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(jittered) => {}
            () = directory.compare_heads.notified() => tokio::time::sleep_until(started + SHORTEST).await,
        }
        let rooms = directory.rooms();
        for some in rooms.chunks(ROOMS_PER_QUERY) {
            compare(some, &*storage, &metrics).await;
        }
    }
}

async fn compare(rooms: &[(ChannelId, Arc<RoomHandle>)], storage: &dyn Storage, metrics: &Metrics) {
    let ids: Vec<_> = rooms.iter().map(|(channel_id, _)| *channel_id).collect();
    let heads = match storage.heads(&ids).await {
        Ok(heads) => heads,
        Err(error) => {
            // The next interval is the retry; what comes from the bus in order goes on meanwhile.
            warn!(error = %error, "heads cannot be compared with the log");
            return;
        }
    };
    metrics.reconciliations.inc();
    let rooms: HashMap<_, _> = rooms.iter().map(|(channel_id, room)| (*channel_id, room)).collect();
    for head in heads {
        let Some(room) = rooms.get(&head.channel_id) else { continue };
        // A room that is opening reads its head itself.
        let Some(status) = *room.status.lock() else { continue };
        if status.epoch == head.epoch && status.delivered >= head.head_seq {
            continue;
        }
        // A room too busy to be told is told at the next interval.
        let _ = room.inbox.control(Control::Head(head));
    }
}
