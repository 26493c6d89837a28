//! How long an event takes from its commit to the sockets, measured where that costs next to nothing.

use chat_domain::{Clock, Timestamp};
use prometheus_client::metrics::histogram::Histogram;

/// Of so many writes of one writer with live events one is measured, the first to begin with: a look at the clock and an
/// entry in a histogram that all threads share are cheap, but not beside a write of a few microseconds.
const ONE_OF: u32 = 16;

/// 1 ms, which is what timestamps have, to 30 s, which is a long repair.
const BUCKETS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// From the commit of an event to the return of the write that sent it.
#[derive(Clone, Debug)]
pub struct DeliveryLatency(pub(super) Histogram);

impl Default for DeliveryLatency {
    fn default() -> Self {
        Self(Histogram::new(BUCKETS))
    }
}

/// Says which writes are measured, of a session or a room.
#[derive(Debug, Default)]
pub(crate) struct Sampling {
    writes: u32,
}

impl Sampling {
    /// A write ended. `oldest` is when the oldest live event in it was committed, by another host's clock: one that is
    /// ahead of ours counts as now.
    pub(crate) fn wrote(&mut self, oldest: Option<Timestamp>, clock: &dyn Clock, latency: &DeliveryLatency) {
        let Some(oldest) = oldest else { return };
        if self.writes.is_multiple_of(ONE_OF) {
            let millis = clock.now().as_millis().saturating_sub(oldest.as_millis()).max(0);
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of a delivery are few")]
            latency.0.observe(millis as f64 / 1_000.0);
        }
        self.writes = self.writes.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn the_first_write_and_every_sixteenth_after_it_are_measured() {
        let (mut sampling, latency) = (Sampling::default(), DeliveryLatency::default());
        let mut registry = Registry::default();
        registry.register("latency", "", latency.0.clone());
        let at = Timestamp::from_millis;
        for _ in 0..17 {
            sampling.wrote(None, &at(1_000), &latency);
            sampling.wrote(Some(at(970)), &at(1_000), &latency);
        }
        let mut ahead = Sampling::default();
        ahead.wrote(Some(at(5_000)), &at(1_000), &latency);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("latency_count 3\n") && text.contains("latency_sum 0.06\n"), "{text}");
    }
}
