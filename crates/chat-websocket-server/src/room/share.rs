//! What all rooms of an instance keep in memory together.

use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Metrics;

/// Bytes of each kind that all rooms keep together. Each room has its own bound; this one counts when thousands of rooms
/// keep much at the same time. Beyond it a room forgets what it keeps: the log has it.
const BYTES: i64 = 64 * 1024 * 1024;

/// The part of one room.
#[derive(Debug)]
pub(super) struct Share {
    all: Gauge,
    bytes: i64,
}

impl Share {
    /// Of the events that are held back, of which there are many when storage is slow and holes are in many rooms.
    pub(super) fn held_back(metrics: &Metrics) -> Self {
        Self { all: metrics.held_bytes.clone(), bytes: 0 }
    }

    /// Of the newest events.
    pub(super) fn remembered(metrics: &Metrics) -> Self {
        Self { all: metrics.remembered_bytes.clone(), bytes: 0 }
    }

    /// Takes note of how many bytes the room keeps now. False if all rooms together keep too many.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let change = bytes - self.bytes;
        if change == 0 {
            return true;
        }
        self.bytes = bytes;
        let before = self.all.inc_by(change);
        change < 0 || before + change <= BYTES
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.dec_by(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_keep_more_is_the_one_to_forget() {
        let metrics = Metrics::default();
        let (mut one, mut other) = (Share::held_back(&metrics), Share::held_back(&metrics));
        let half = usize::try_from(BYTES).unwrap() / 2;
        assert!(one.set(half) && other.set(half));
        assert!(!other.set(half + 1));
        assert!(one.set(half), "who keeps no more than before goes on");
        assert!(Share::remembered(&metrics).set(half), "that is another kind");
        assert!(other.set(0) && one.set(half + 1));
        drop((one, other));
        assert_eq!(metrics.held_bytes.get(), 0);
    }
}
