//! The runtime that the tasks of the process run on.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};
use tokio::runtime::RuntimeMetrics;

use super::gauge;

#[derive(Debug)]
pub(super) struct Runtime(pub(super) RuntimeMetrics);

impl Collector for Runtime {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(runtime) = self;
        gauge(&mut to, "tokio_workers", "Threads that run tasks.", runtime.num_workers())?;
        gauge(&mut to, "tokio_alive_tasks", "Tasks that have not ended.", runtime.num_alive_tasks())?;
        let waiting = runtime.global_queue_depth();
        gauge(&mut to, "tokio_global_queue_depth", "Tasks that wait for any worker.", waiting)?;

        let (name, help) = ("tokio_worker_busy_seconds", "Time a worker was at work.");
        let mut busy = to.encode_descriptor(name, help, None, MetricType::Counter)?;
        for worker in 0..runtime.num_workers() {
            let time = ConstCounter::new(runtime.worker_total_busy_duration(worker).as_secs_f64());
            time.encode(busy.encode_family(&[("worker", worker)])?)?;
        }
        Ok(())
    }
}
