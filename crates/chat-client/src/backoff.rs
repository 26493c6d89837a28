//! How long to wait before the next connection: exponential with full jitter, so that clients which lost the same
//! instance do not come back together.

use std::time::Duration;

/// A connection that held this long was a success: the next failure counts as the first.
const STABLE_AFTER: Duration = Duration::from_secs(5);

pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    jitter: Box<dyn FnMut() -> f64 + Send>,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration, jitter: Box<dyn FnMut() -> f64 + Send>) -> Self {
        Self { first, most, jitter, failures: 0 }
    }

    /// The delay after a connection that ended after `lasted`.
    pub(crate) fn after_failure(&mut self, lasted: Duration) -> Duration {
        if lasted >= STABLE_AFTER {
            self.failures = 0;
        }
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        self.spread(doubled.min(self.most))
    }

    /// A random part of `most`.
    fn spread(&mut self, most: Duration) -> Duration {
        most.mul_f64((self.jitter)().clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(part: f64) -> Backoff {
        Backoff::new(Duration::from_millis(250), Duration::from_secs(10), Box::new(move || part))
    }

    #[test]
    fn the_bound_doubles_up_to_the_most() {
        let mut backoff = backoff(1.0);
        let delays: Vec<_> = (0..40).map(|_| backoff.after_failure(Duration::ZERO).as_millis()).collect();
        assert_eq!(delays[..7], [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000]);
        assert!(delays[7..].iter().all(|delay| *delay == 10_000));
    }

    #[test]
    fn any_part_of_the_bound_may_be_taken() {
        assert_eq!(backoff(0.0).after_failure(Duration::ZERO), Duration::ZERO);
        assert_eq!(backoff(0.5).after_failure(Duration::ZERO), Duration::from_millis(125));
        assert_eq!(backoff(f64::NAN.max(7.0)).after_failure(Duration::ZERO), Duration::from_millis(250));
    }

    #[test]
    fn a_connection_that_held_starts_anew() {
        let mut backoff = backoff(1.0);
        backoff.after_failure(Duration::ZERO);
        backoff.after_failure(Duration::ZERO);
        assert_eq!(backoff.after_failure(STABLE_AFTER), Duration::from_millis(250));
    }
}
