//! An eye on the servers while faults are done to them.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::{
    history::ActClock,
    world::{SERVERS, World},
};

/// How often the servers and their memory are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// The memory of a server over the act, in bytes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) server: String,
    pub(crate) first: u64,
    pub(crate) most: u64,
    pub(crate) last: u64,
}

#[derive(Default)]
pub(super) struct Watch {
    pub(super) servers: Vec<Memory>,
}

impl Watch {
    pub(super) async fn sample_until(&mut self, world: &mut World, clock: ActClock, moment: Duration) {
        let until = clock.at(moment);
        loop {
            self.sample(world);
            let next = Instant::now() + SAMPLE_EVERY;
            sleep_until(next.min(until)).await;
            if next >= until {
                return;
            }
        }
    }

    fn sample(&mut self, world: &mut World) {
        world.look_for_crashes();
        for index in 0..SERVERS {
            let (server, process) = world.any_server(index);
            let Some(now) = process.resident_bytes() else { continue };
            match self.servers.iter_mut().find(|memory| memory.server == server) {
                Some(memory) => (memory.most, memory.last) = (memory.most.max(now), now),
                None => self.servers.push(Memory { server, first: now, most: now, last: now }),
            }
        }
    }
}
