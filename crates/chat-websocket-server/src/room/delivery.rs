//! Brings what a room delivers to its sessions.
//!
//! To send to a session mostly means to write to its socket, so many of them take their time. A few sessions are sent to at
//! once, then other rooms get their turn, and in a room with many all cores take part. The room goes on when everybody was
//! sent to: what it hears meanwhile goes out together.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use chat_domain::{Clock, Timestamp};
use tokio::{
    runtime::Handle,
    task::{JoinSet, yield_now},
};

use super::{
    event::RoomEvent,
    subscribers::{List, Progress, Subscriber},
};
use crate::{
    frame::{Frames, TextFrame},
    metrics::{Metrics, Sampling},
};

/// Sessions that are sent to before others get their turn: half a millisecond of writes, or less.
const CHUNK: usize = 64;

/// What goes to the live sessions of a room.
pub(super) struct Parcel {
    /// All of it, in one piece.
    whole: Frames,
    /// When the first event was committed.
    at: Option<Timestamp>,
    /// The events in it, none if it is a signal: sessions that have just come may have some already.
    events: Vec<RoomEvent>,
}

impl Parcel {
    /// Something that is no event, and goes to everybody.
    pub(super) fn signal(frame: TextFrame) -> Self {
        Self { whole: frame.into(), at: None, events: Vec::new() }
    }

    /// Consecutive events, for those who do not have them yet.
    pub(super) fn events(events: &[RoomEvent]) -> Self {
        let whole = Frames::join(events.iter().map(|event| &event.frame));
        Self { whole, at: events.first().and_then(|event| event.at), events: events.to_vec() }
    }

    /// Sends it to one session.
    fn deliver(&self, to: &Subscriber, account: &mut Account<'_>) {
        let Progress::Live(from) = to.progress else { return };
        let known = self.events.partition_point(|event| event.seq < from);
        if known == 0 {
            return account.deliver(to, self.at, &self.whole, self.events.len());
        }
        let news = &self.events[known..];
        if let Some(first) = news.first() {
            let frames = Frames::join(news.iter().map(|event| &event.frame));
            account.deliver(to, first.at, &frames, news.len());
        }
    }
}

/// What was delivered, and where that is counted when it is done.
struct Account<'a> {
    metrics: &'a Metrics,
    clock: &'a dyn Clock,
    sampling: &'a mut Sampling,
    writes: u64,
    frames: u64,
    deliveries: u64,
}

impl<'a> Account<'a> {
    fn new(metrics: &'a Metrics, clock: &'a dyn Clock, sampling: &'a mut Sampling) -> Self {
        Self { metrics, clock, sampling, writes: 0, frames: 0, deliveries: 0 }
    }

    fn deliver(&mut self, to: &Subscriber, at: Option<Timestamp>, frames: &Frames, events: usize) {
        self.deliveries += events as u64;
        let written = to.session.outbox.deliver(at, frames);
        if written > 0 {
            self.writes += 1;
            self.frames += written as u64;
            self.sampling.wrote(at, self.clock, &self.metrics.delivery_latency);
        }
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        self.metrics.deliveries.inc_by(self.deliveries);
        self.metrics.writes.inc_by(self.writes);
        self.metrics.frames_written.inc_by(self.frames);
    }
}

/// Sends to all sessions of a room.
pub(super) struct Courier {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// Which writes are measured.
    sampling: Sampling,
    /// Sessions that were sent to since others had their turn.
    sent: usize,
}

impl Courier {
    pub(super) fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self { metrics, clock, sampling: Sampling::default(), sent: 0 }
    }

    /// Sends a parcel to everybody on the list.
    pub(super) async fn deliver(&mut self, parcel: Parcel, list: &mut List) {
        if list.0.len() <= CHUNK {
            self.sent += list.0.len();
            let mut account = Account::new(&self.metrics, &*self.clock, &mut self.sampling);
            list.0.iter().for_each(|one| parcel.deliver(one, &mut account));
            drop(account);
            if self.sent >= CHUNK {
                self.sent = 0;
                yield_now().await;
            }
            return;
        }
        let (metrics, clock) = (Arc::clone(&self.metrics), Arc::clone(&self.clock));
        let round = Round { parcel, list: std::mem::take(list), next: AtomicUsize::new(0), metrics, clock };
        *list = round.run().await;
    }
}

/// A parcel on its way to many sessions. If it does not come to its end, neither do they: nobody knows who got it.
struct Round {
    parcel: Parcel,
    list: List,
    /// The first whom nobody has sent to or is about to.
    next: AtomicUsize,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Round {
    async fn run(self) -> List {
        let lanes = self.list.0.len().div_ceil(CHUNK).min(Handle::current().metrics().num_workers());
        let this = Arc::new(self);
        let mut others = JoinSet::new();
        for _ in 1..lanes {
            others.spawn(Arc::clone(&this).walk());
        }
        Arc::clone(&this).walk().await;
        while let Some(ended) = others.join_next().await {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic);
            }
        }
        Arc::into_inner(this).map(|round| round.list).unwrap_or_default()
    }

    /// Sends to some sessions at a time, until there are no more.
    async fn walk(self: Arc<Self>) {
        let mut sampling = Sampling::default();
        loop {
            let begin = self.next.fetch_add(CHUNK, Ordering::Relaxed);
            let rest = self.list.0.get(begin..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            let mut account = Account::new(&self.metrics, &*self.clock, &mut sampling);
            rest.iter().take(CHUNK).for_each(|one| self.parcel.deliver(one, &mut account));
            drop(account);
            yield_now().await;
        }
    }
}
