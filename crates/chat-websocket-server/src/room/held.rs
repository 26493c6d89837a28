//! What all rooms of an instance hold back together.

use std::sync::Arc;

use crate::metrics::Metrics;

/// Bytes that all rooms hold back together. Each room has its own bound; this one counts when storage is slow and holes
/// are in thousands of rooms. Beyond it a room forgets what it holds back: the log has it.
const BYTES: i64 = 64 * 1024 * 1024;

/// The part of one room.
#[derive(Debug)]
pub(super) struct Held {
    metrics: Arc<Metrics>,
    bytes: i64,
}

impl Held {
    pub(super) const fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, bytes: 0 }
    }

    /// Takes note of how many bytes the room holds back now. False if all rooms together hold too many.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let change = bytes - self.bytes;
        self.bytes = bytes;
        let before = self.metrics.held_bytes.inc_by(change);
        change <= 0 || before + change <= BYTES
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.metrics.held_bytes.dec_by(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_hold_back_more_is_the_one_to_forget() {
        let metrics = Arc::<Metrics>::default();
        let (mut one, mut other) = (Held::new(Arc::clone(&metrics)), Held::new(Arc::clone(&metrics)));
        let half = usize::try_from(BYTES).unwrap() / 2;
        assert!(one.set(half) && other.set(half));
        assert!(!other.set(half + 1));
        assert!(one.set(half), "who holds no more than before goes on");
        assert!(other.set(0) && one.set(half + 1));
        drop((one, other));
        assert_eq!(metrics.held_bytes.get(), 0);
    }
}
