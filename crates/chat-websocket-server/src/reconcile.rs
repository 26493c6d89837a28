//! Compares the heads of open rooms with the log, so that nothing is missed that the bus was silent about: a lost last
//! event, a publisher that died between commit and publish, or Redis away altogether.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chat_domain::{
    ChannelId,
    ports::{Head, Storage},
};
use futures_util::StreamExt;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    hub::Directory,
    in_time::in_time,
    metrics::Metrics,
    pace::{Intervals, Passes},
    room::{ABSENCES, RoomHandle, control::Control},
};

/// Most rooms in one query.
const ROOMS_PER_QUERY: usize = 1_000;
/// Queries at once: one that is slow holds up only every second one.
const QUERIES: usize = 2;
/// How long a query may take. Its rooms stay due, so the next pass is the retry.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Compares heads for as long as it is polled: at each pass, and whenever the directory asks for it.
pub async fn run(directory: Arc<Directory>, storage: Arc<dyn Storage>, metrics: Arc<Metrics>, intervals: Intervals) {
    let mut passes = Passes::new(intervals, &directory);
    loop {
        let age = passes.next(&directory, &directory.compare_heads).await;
        let due = directory.due(Instant::now(), age);
        metrics.heads_skipped.inc_by(due.skipped);
        let queries: Vec<_> =
            due.rooms.chunks(ROOMS_PER_QUERY).map(|some| compare(some, &*storage, &metrics)).collect();
        futures_util::stream::iter(queries).buffer_unordered(QUERIES).collect::<()>().await;
    }
}

async fn compare(rooms: &[(ChannelId, Arc<RoomHandle>)], storage: &dyn Storage, metrics: &Metrics) {
    let ids: Vec<_> = rooms.iter().map(|(channel_id, _)| *channel_id).collect();
    let began = Instant::now();
    let heads = match in_time("heads", QUERY_TIMEOUT, storage.heads(&ids)).await {
        Ok(heads) => heads,
        Err(error) => {
            // What comes from the bus in order goes on meanwhile.
            warn!(error = %error, "heads cannot be compared with the log");
            return;
        }
    };
    metrics.reconciliations.inc();
    metrics.heads_compared.inc_by(heads.len() as u64);
    let mut rooms: HashMap<_, _> = rooms.iter().map(|(channel_id, room)| (*channel_id, room)).collect();
    for head in heads {
        if let Some(room) = rooms.remove(&head.channel_id)
            && knows(room, head)
        {
            room.confirmation.lock().confirm(began);
        }
    }
    rooms.values().for_each(|room| miss(room));
}

/// Storage does not know the room's channel. If it goes on to say so, it was restored from a time before there was one.
fn miss(room: &RoomHandle) {
    let is_open = room.status.lock().is_some();
    if is_open && room.confirmation.lock().absent() >= ABSENCES {
        // A room that is too busy to be told is told in the next pass.
        let _ = room.inbox.control(Control::Gone);
    }
}

/// Makes sure that the room knows what storage says. False for a room that is too busy to be told: the next pass does.
fn knows(room: &RoomHandle, head: Head) -> bool {
    // A room that is opening reads its head itself.
    let Some(status) = *room.status.lock() else { return false };
    let has_it = status.epoch == head.epoch && status.delivered >= head.head_seq;
    has_it || room.inbox.control(Control::Head(head)).is_ok()
}
