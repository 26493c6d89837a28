//! Lets a room that is hot collect events before it delivers them.
//!
//! A write costs the kernel about the same for one event as for ten. Where many events go to many sessions, the room waits
//! a few milliseconds for more of them, and each session gets all in one write. A room where that gathers nothing, or that
//! has few sessions, never waits.

use std::time::Duration;

use tokio::time::Instant;

/// Over which time the rate of events is averaged.
const MEMORY: Duration = Duration::from_millis(100);
/// Deliveries per second from which on a room may be hot: with fewer, writing them one by one takes a small part of a core.
const HOT: f64 = 20_000.0;
/// Events that a wait has to gather to be worth it.
const GATHERED: f64 = 2.0;

/// How hot a room is.
#[derive(Debug)]
pub(super) struct Heat {
    /// How long a hot room waits; zero for never.
    wait: Duration,
    /// Events that came, those of long ago counted less and less.
    level: f64,
    at: Instant,
}

impl Heat {
    pub(super) fn new(wait: Duration, now: Instant) -> Self {
        Self { wait, level: 0.0, at: now }
    }

    /// Events came.
    pub(super) fn add(&mut self, events: usize, now: Instant) {
        #[expect(clippy::cast_precision_loss, reason = "an inbox holds few")]
        let events = events as f64;
        self.level = self.level * self.rest(now) + events;
        self.at = now;
    }

    /// How long events may wait for others before they go to so many sessions, if that is worth it.
    pub(super) fn wait(&self, sessions: usize, now: Instant) -> Option<Duration> {
        let rate = self.level * self.rest(now) / MEMORY.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "an instance holds few")]
        let deliveries = rate * sessions as f64;
        (deliveries >= HOT && rate * self.wait.as_secs_f64() >= GATHERED).then_some(self.wait)
    }

    /// What is left of the level by now.
    fn rest(&self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::RoomLimits, *};

    /// As rooms have it.
    fn usual() -> Duration {
        RoomLimits::default().coalesce
    }

    /// After a second with so many events, evenly.
    fn heat(events_per_second: u32, now: Instant) -> Heat {
        let mut heat = Heat::new(usual(), now - Duration::from_secs(1));
        for number in 1..=events_per_second {
            heat.add(1, now - Duration::from_secs(1) + Duration::from_secs(1) * number / events_per_second);
        }
        heat
    }

    #[test]
    fn only_many_events_to_many_sessions_wait() {
        let now = Instant::now();
        assert_eq!(heat(1_000, now).wait(1_000, now), Some(usual()));
        assert_eq!(heat(1_000, now).wait(10, now), None, "few sessions");
        assert_eq!(heat(200, now).wait(10_000, now), None, "it would gather one event");
        assert_eq!(Heat::new(usual(), now).wait(10_000, now), None);
        let never = Heat { wait: Duration::ZERO, ..heat(1_000, now) };
        assert_eq!(never.wait(1_000, now), None);
    }

    #[test]
    fn a_room_cools_down() {
        let now = Instant::now();
        let heat = heat(1_000, now);
        assert!(heat.wait(1_000, now + MEMORY / 2).is_some());
        assert!(heat.wait(1_000, now + 3 * MEMORY).is_none());
    }

    #[test]
    fn a_burst_out_of_silence_does_not_wait() {
        let now = Instant::now();
        let mut heat = Heat::new(usual(), now);
        heat.add(24, now);
        assert!(heat.wait(1_000, now).is_none());
    }
}
