//! Compares the heads of open rooms with the log, so that nothing is missed that the bus was silent about: a lost last
//! event, a publisher that died between commit and publish, or Redis away altogether.
//!
//! A pass comes twice in an interval and leaves out the rooms that storage has confirmed since, so that a quiet room is
//! asked about once in an interval, and one that joins and repairs ask about anyway less often. No room waits longer than
//! 1.15 intervals. A room in doubt is compared at once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chat_domain::{
    ChannelId,
    ports::{Head, Storage},
};
use futures_util::StreamExt;
use rand::RngExt;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use crate::{
    hub::Directory,
    metrics::Metrics,
    room::{RoomHandle, control::Control},
};

/// Most rooms in one query.
const ROOMS_PER_QUERY: usize = 1_000;
/// Queries at once: one that is slow holds up only every second one.
const QUERIES: usize = 2;
/// How long a query may take. Its rooms stay due, so the next pass is the retry.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Comparisons that are asked for come at least this far apart, however often they are asked for.
const SHORTEST: Duration = Duration::from_millis(50);

/// No confirmation is too old: what is compared is what is in doubt.
const ONLY_DOUBTED: Duration = Duration::MAX;

/// How often heads are compared.
#[derive(Clone, Copy, Debug)]
pub struct ReconcileLimits {
    /// While the bus lives.
    pub interval: Duration,
    /// While the bus is known to be away, and for a moment after its return.
    pub interval_without_bus: Duration,
}

/// When a pass comes, and which rooms it leaves out.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    wait: Duration,
    age: Duration,
}

impl Pace {
    /// Parts of an interval between two passes, at random: instances that started together do not ask together.
    const PASSES: std::ops::Range<f64> = 0.45..0.55;
    /// Parts of an interval for which a confirmation holds. More than a pass, so that a quiet room is due at each second
    /// one only.
    const HOLDS: f64 = 0.6;

    /// `at` is where in [`Self::PASSES`] the wait lies, from 0 to 1.
    fn new(limits: ReconcileLimits, bus_in_doubt: bool, at: f64) -> Self {
        if bus_in_doubt {
            // Nothing is heard: each pass is the only source of news for each room.
            return Self { wait: limits.interval_without_bus.mul_f64(0.75 + at / 2.0), age: Duration::ZERO };
        }
        let passes = Self::PASSES.start + at * (Self::PASSES.end - Self::PASSES.start);
        Self { wait: limits.interval.mul_f64(passes), age: limits.interval.mul_f64(Self::HOLDS) }
    }
}

/// Compares heads for as long as it is polled: at each pass, and whenever the directory asks for it.
pub async fn run(directory: Arc<Directory>, storage: Arc<dyn Storage>, metrics: Arc<Metrics>, limits: ReconcileLimits) {
    let pace = || Pace::new(limits, directory.bus_in_doubt(Instant::now()), rand::rng().random());
    let mut next = Instant::now() + pace().wait;
    loop {
        let started = Instant::now();
        let age = tokio::select! {
            () = sleep_until(next) => {
                let pace = pace();
                next = Instant::now() + pace.wait;
                pace.age
            }
            () = directory.compare_heads.notified() => {
                sleep_until(started + SHORTEST).await;
                // If the bus is away from now on, passes come faster; wishes alone do not put them off.
                next = next.min(Instant::now() + pace().wait);
                ONLY_DOUBTED
            }
        };
        let due = directory.due(Instant::now(), age);
        metrics.heads_skipped.inc_by(due.skipped);
        let queries: Vec<_> =
            due.rooms.chunks(ROOMS_PER_QUERY).map(|some| compare(some, &*storage, &metrics)).collect();
        futures_util::stream::iter(queries).buffer_unordered(QUERIES).collect::<()>().await;
        // Storage that is slower than the passes gets a pause all the same.
        next = next.max(Instant::now() + SHORTEST);
    }
}

async fn compare(rooms: &[(ChannelId, Arc<RoomHandle>)], storage: &dyn Storage, metrics: &Metrics) {
    let ids: Vec<_> = rooms.iter().map(|(channel_id, _)| *channel_id).collect();
    let began = Instant::now();
    let heads = match timeout(QUERY_TIMEOUT, storage.heads(&ids)).await {
        Ok(Ok(heads)) => heads,
        Ok(Err(error)) => {
            // What comes from the bus in order goes on meanwhile.
            warn!(error = %error, "heads cannot be compared with the log");
            return;
        }
        Err(_) => {
            warn!("heads cannot be compared with the log: storage does not answer in time");
            return;
        }
    };
    metrics.reconciliations.inc();
    metrics.heads_compared.inc_by(heads.len() as u64);
    let rooms: HashMap<_, _> = rooms.iter().map(|(channel_id, room)| (*channel_id, room)).collect();
    for head in heads {
        if let Some(room) = rooms.get(&head.channel_id)
            && knows(room, head)
        {
            room.confirmation.lock().confirm(began);
        }
    }
}

/// Makes sure that the room knows what storage says. False for a room that is too busy to be told: the next pass does.
fn knows(room: &RoomHandle, head: Head) -> bool {
    // A room that is opening reads its head itself.
    let Some(status) = *room.status.lock() else { return false };
    let has_it = status.epoch == head.epoch && status.delivered >= head.head_seq;
    has_it || room.inbox.control(Control::Head(head)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Confirmation;

    const LIMITS: ReconcileLimits =
        ReconcileLimits { interval: Duration::from_secs(2), interval_without_bus: Duration::from_millis(500) };

    /// Plays passes over one room and returns, for each comparison, how long after the one before it came.
    fn gaps(at: impl Fn(u32) -> f64) -> Vec<Duration> {
        let (mut now, mut room, mut gaps) = (Instant::now(), Confirmation::default(), Vec::new());
        room.confirm(now);
        let mut confirmed_at = now;
        for pass in 0..1_000 {
            let pace = Pace::new(LIMITS, false, at(pass));
            now += pace.wait;
            if room.is_due(now, pace.age, None) {
                gaps.push(now - confirmed_at);
                room.confirm(now);
                confirmed_at = now;
            }
        }
        gaps
    }

    #[test]
    fn a_lost_last_event_is_found_in_time_and_a_quiet_room_is_asked_about_once_in_an_interval() {
        let uneven = |pass: u32| f64::from(pass * 37 % 101) / 100.0;
        for gaps in [gaps(|_| 0.0), gaps(|_| 1.0), gaps(|pass| f64::from(pass % 2)), gaps(uneven)] {
            let longest = *gaps.iter().max().unwrap();
            assert!(longest <= Duration::from_millis(2_300), "{longest:?}");
            let mean = gaps.iter().sum::<Duration>() / u32::try_from(gaps.len()).unwrap();
            assert!(mean >= LIMITS.interval.mul_f64(0.89), "{mean:?}");
        }
    }

    #[test]
    fn without_the_bus_each_pass_compares_every_room() {
        for at in [0.0, 1.0] {
            let pace = Pace::new(LIMITS, true, at);
            assert_eq!(pace.age, Duration::ZERO);
            assert!(pace.wait <= Duration::from_millis(625));
        }
    }
}
