//! Writes what a room has queued for its sessions.
//!
//! An event to a session that has nothing else to write needs no task of that session: the room writes it. Few it writes
//! itself, at once. Many are written by a few tasks, one for each core, some sessions at a time, so that the room goes on
//! and other rooms get their turn in between. A session is written for by one at a time; what is queued for it meanwhile
//! goes out with the same write.

use std::{collections::VecDeque, sync::Arc};

use chat_domain::Clock;
use common_server::Scope;
use parking_lot::Mutex;
use tokio::{runtime::Handle, task::yield_now};

use crate::{
    metrics::{Metrics, Sampling},
    outbox::Taken,
    session::SessionHandle,
};

/// Sessions that are written for before others get their turn: half a millisecond, or less where a write is cheap.
const CHUNK: usize = 64;

/// A session whose outbox has to be written by whoever holds this. If that does not come about, its own task does it.
#[derive(Debug)]
pub(super) struct Claim {
    session: Arc<SessionHandle>,
    held: bool,
}

impl Claim {
    /// For who was told to write by the session's outbox.
    pub(super) const fn new(session: Arc<SessionHandle>) -> Self {
        Self { session, held: true }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.held {
            self.session.outbox.hand_over();
        }
    }
}

/// Writes for the sessions of one room.
pub(super) struct Writers {
    pen: Pen,
    shared: Arc<Shared>,
    tasks: Scope,
    /// Those that are to be written for; kept for its memory.
    claims: Vec<Claim>,
}

struct Shared {
    /// Bounded by the sessions of the instance: there is one claim of a session at most.
    queue: Mutex<Queue>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Queue {
    claims: VecDeque<Claim>,
    /// Tasks that take from here.
    running: usize,
}

impl Writers {
    pub(super) fn new(tasks: Scope, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let shared = Arc::new(Shared { queue: Mutex::default(), metrics, clock });
        Self { pen: Pen::default(), shared, tasks, claims: Vec::new() }
    }

    /// Where claims are put for the next [`Self::write`].
    pub(super) const fn claims(&mut self) -> &mut Vec<Claim> {
        &mut self.claims
    }

    /// Writes for these sessions, or sees to it that it is done.
    pub(super) fn write(&mut self) {
        if self.claims.len() <= CHUNK {
            if self.pen.write(self.claims.drain(..), &self.shared) {
                self.run(1);
            }
            return;
        }
        self.shared.queue.lock().claims.extend(self.claims.drain(..));
        self.claims.shrink_to(CHUNK);
        self.run(Handle::current().metrics().num_workers());
    }

    /// Lets up to so many tasks write what is queued.
    fn run(&self, most: usize) {
        let mut queue = self.shared.queue.lock();
        let needed = queue.claims.len().div_ceil(CHUNK).min(most).saturating_sub(queue.running);
        queue.running += needed;
        drop(queue);
        for _ in 0..needed {
            self.tasks.spawn("fan-out", Lane { shared: Arc::clone(&self.shared), ended: false }.run());
        }
    }
}

/// One of the tasks.
struct Lane {
    shared: Arc<Shared>,
    ended: bool,
}

impl Lane {
    async fn run(mut self) {
        let (mut pen, mut chunk) = (Pen::default(), Vec::with_capacity(CHUNK));
        while self.next(&mut chunk) {
            pen.write(chunk.drain(..), &self.shared);
            yield_now().await;
        }
    }

    /// Takes the next sessions; false if there are none.
    fn next(&mut self, chunk: &mut Vec<Claim>) -> bool {
        let mut queue = self.shared.queue.lock();
        let some = queue.claims.len().min(CHUNK);
        chunk.extend(queue.claims.drain(..some));
        if chunk.is_empty() {
            queue.running -= 1;
            // Under the lock: who queues more from now on sees that this task will not take it.
            self.ended = true;
        }
        !self.ended
    }
}

impl Drop for Lane {
    /// One that ends in the middle leaves what is queued to the sessions.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut queue = self.shared.queue.lock();
        queue.running -= 1;
        let left = std::mem::take(&mut queue.claims);
        drop(queue);
        drop(left);
    }
}

/// Writes for one session after the other.
#[derive(Default)]
struct Pen {
    /// What is being written; kept for its memory.
    taken: Taken,
    /// Which writes are measured.
    sampling: Sampling,
}

impl Pen {
    /// Writes for these, and queues those for whom there is more to write by then. False if there are none.
    fn write(&mut self, claims: impl Iterator<Item = Claim>, shared: &Shared) -> bool {
        let (mut writes, mut frames, mut queued) = (0, 0, false);
        for mut claim in claims {
            let written = claim.session.outbox.write(&mut self.taken);
            claim.held = written.more;
            if written.frames > 0 {
                writes += 1;
                frames += written.frames as u64;
                self.sampling.wrote(self.taken.oldest.take(), &*shared.clock, &shared.metrics.delivery_latency);
            }
            if written.more {
                shared.queue.lock().claims.push_back(claim);
                queued = true;
            }
        }
        shared.metrics.writes.inc_by(writes);
        shared.metrics.frames_written.inc_by(frames);
        queued
    }
}
