use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

/// When to ping, and when to give up. Any frame from the client counts as life.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    next: Instant,
    last_life: Instant,
}

impl Heartbeat {
    /// The first ping comes at a random point of the interval, so that sessions that began together do not ping together.
    pub(super) fn new(interval: Duration) -> Self {
        let now = Instant::now();
        Self { interval, next: now + interval.mul_f64(rand::rng().random_range(0.0..1.0)), last_life: now }
    }

    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn alive(&mut self) {
        self.last_life = Instant::now();
    }

    pub(super) fn is_dead(&self, now: Instant) -> bool {
        now >= self.last_life + 2 * self.interval
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    pub(super) fn pinged(&mut self, now: Instant) {
        self.next = now + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn silence_for_two_intervals_is_death() {
        let mut heartbeat = Heartbeat::new(INTERVAL);
        let start = Instant::now();
        assert!(heartbeat.next() <= start + INTERVAL);
        assert!(!heartbeat.is_dead(start + 2 * INTERVAL - Duration::from_millis(1)));
        assert!(heartbeat.is_dead(start + 2 * INTERVAL));
        tokio::time::advance(INTERVAL).await;
        heartbeat.alive();
        assert!(!heartbeat.is_dead(start + 2 * INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn pings_are_an_interval_apart() {
        let mut heartbeat = Heartbeat::new(INTERVAL);
        let first = heartbeat.next();
        assert!(heartbeat.is_due(first));
        heartbeat.pinged(first);
        assert!(!heartbeat.is_due(first + INTERVAL - Duration::from_millis(1)));
        assert!(heartbeat.is_due(first + INTERVAL));
    }
}
