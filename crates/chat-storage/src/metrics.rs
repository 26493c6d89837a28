//! What a store tells of itself: how long each operation takes, what fails, and how many connections are in use.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::error::FailureKind;

/// The instruments of one store. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    durations: Family<Operation, Histogram, fn() -> Histogram>,
    errors: Family<Failure, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    operation: &'static str,
    kind: &'static str,
}

impl Metrics {
    /// Makes the instruments and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { durations: Family::new_with_constructor(durations), errors: Family::default() };
        let registry = registry.sub_registry_with_prefix("chat_storage");
        registry.register(
            "operation_duration_seconds",
            "Time of one operation, with its wait for a connection",
            metrics.durations.clone(),
        );
        registry.register("errors", "Operations that failed", metrics.errors.clone());
        metrics
    }

    /// An operation ended, well or not.
    pub(crate) fn ended(&self, operation: &'static str, took: Duration, failure: Option<FailureKind>) {
        self.durations.get_or_create(&Operation { operation }).observe(took.as_secs_f64());
        // All of them from the first call on: what counts the increase of a counter does not see one that appears.
        for kind in FailureKind::ALL {
            let failed = failure == Some(kind);
            self.errors.get_or_create(&Failure { operation, kind: kind.as_str() }).inc_by(u64::from(failed));
        }
    }
}

/// 0.1 ms to 26 s: from a lookup in SQLite's memory to the longest that a call may take by default.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 19))
}

/// How many connections a pool has.
pub(crate) struct PoolState {
    /// Which pool.
    pub(crate) pool: &'static str,
    /// Connections that are in use.
    pub(crate) used: u32,
    /// Connections that wait for use.
    pub(crate) idle: u32,
    /// Most that it may have.
    pub(crate) max: u32,
}

impl PoolState {
    pub(crate) fn of<DB: sqlx::Database>(name: &'static str, pool: &sqlx::Pool<DB>) -> Self {
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        let max = pool.options().get_max_connections();
        Self { pool: name, used: pool.size().saturating_sub(idle), idle, max }
    }
}

/// Looks at the pools whenever somebody asks.
pub(crate) struct Pools<F>(pub(crate) F);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pool {
    pool: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    pool: &'static str,
    state: &'static str,
}

impl<F> fmt::Debug for Pools<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pools")
    }
}

impl<F: Fn() -> Vec<PoolState> + Send + Sync + 'static> Collector for Pools<F> {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let pools = (self.0)();
        let help = "Connections to storage, by pool";
        let mut connections = encoder.encode_descriptor("chat_storage_connections", help, None, MetricType::Gauge)?;
        for PoolState { pool, used, idle, .. } in &pools {
            for (state, count) in [("used", *used), ("idle", *idle)] {
                ConstGauge::new(i64::from(count)).encode(connections.encode_family(&State { pool, state })?)?;
            }
        }
        let help = "Most connections that a pool may have";
        let mut most = encoder.encode_descriptor("chat_storage_connections_max", help, None, MetricType::Gauge)?;
        for PoolState { pool, max, .. } in &pools {
            ConstGauge::new(i64::from(*max)).encode(most.encode_family(&Pool { pool })?)?;
        }
        Ok(())
    }
}
