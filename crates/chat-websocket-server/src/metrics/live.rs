//! What is looked up in the directory when somebody asks, so that nothing is counted on the way of an event.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};
use tokio::time::Instant;

use crate::hub::Directory;

/// The state of all sessions and rooms.
pub struct Live {
    /// Where they are.
    pub directory: Arc<Directory>,
    /// Most frames that may wait for one session.
    pub most_frames: usize,
}

/// What waits for sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Frames of all sessions.
    pub frames: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Frames of the session that has most.
    pub most_frames: usize,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

impl Collector for Live {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is read by people")]
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let queues = self.directory.queues();
        let lag = self.directory.reconcile_lag(Instant::now());
        let gauges = [
            ("chat_websocket_queued_frames", "Frames that wait for sessions", queues.frames as f64),
            ("chat_websocket_queued_bytes", "Bytes that wait for sessions", queues.bytes as f64),
            (
                "chat_websocket_queued_frames_max",
                "Frames that wait for the session with most",
                queues.most_frames as f64,
            ),
            (
                "chat_websocket_queued_frames_limit",
                "Most frames that may wait for one session",
                self.most_frames as f64,
            ),
            (
                "chat_websocket_reconcile_lag_seconds",
                "Age of the oldest confirmation of an open room",
                lag.as_secs_f64(),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
