//! Metrics that every process has. What the system does not tell is left out.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `process_cpu_seconds_total` | – | processor time spent, in user and system |
//! | `process_max_fds` | – | files and sockets that may be open |
//! | `process_open_fds` | – | files and sockets that are open |
//! | `process_resident_memory_bytes` | – | memory in use |
//! | `process_start_time_seconds` | – | start, in seconds since 1970 |
//! | `process_threads` | – | threads of the system |
//! | `process_virtual_memory_bytes` | – | address space in use |
//! | `tokio_alive_tasks` | – | tasks that have not ended |
//! | `tokio_global_queue_depth` | – | tasks that wait for any worker |
//! | `tokio_worker_busy_seconds_total` | worker | time a worker was at work; one that stands at a second per second is blocked |
//! | `tokio_workers` | – | threads that run tasks |

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use tokio::runtime::Handle;

mod process;
mod runtime;

/// Registers what is read anew whenever somebody asks.
pub(crate) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(process::Process));
    if let Ok(handle) = Handle::try_current() {
        registry.register_collector(Box::new(runtime::Runtime(handle.metrics())));
    }
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
    ConstGauge::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: impl EncodeCounterValue) -> fmt::Result {
    ConstCounter::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Counter)?)
}
