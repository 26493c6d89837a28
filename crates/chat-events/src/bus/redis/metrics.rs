//! What the bus tells of itself: whether it is there, and how its commands fare.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tokio::time::Instant;

/// The instruments of a process that talks to Redis. Clones share them; by default nobody reads them.
#[derive(Clone, Debug)]
pub struct Metrics {
    up: Up,
    durations: Family<Kind, Histogram, fn() -> Histogram>,
    errors: Family<Kind, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let durations = Family::new_with_constructor(durations as fn() -> Histogram);
        Self { up: Up::default(), durations, errors: Family::default() }
    }
}

impl Metrics {
    /// Makes the instruments and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("chat_redis");
        registry.register("up", "1 while all of Redis that is needed is connected", metrics.up.clone());
        registry.register(
            "command_duration_seconds",
            "Time from a command, or a pipeline of them, to its answer or to the end of patience",
            metrics.durations.clone(),
        );
        registry.register("errors", "Commands that failed or had no answer in time", metrics.errors.clone());
        metrics
    }

    /// The instruments of one kind of command, which exist from then on. `kind` is a label: one of few fixed words.
    pub fn instruments(&self, kind: &'static str) -> Instruments {
        let kind = Kind { kind };
        Instruments {
            duration: self.durations.get_or_create_owned(&kind),
            errors: self.errors.get_or_create_owned(&kind),
        }
    }

    /// Something else that must be connected for Redis to be up. It is asked whenever somebody looks.
    pub(super) fn watch(&self, is_up: impl Fn() -> bool + Send + Sync + 'static) {
        self.up.0.write().push(Box::new(is_up));
    }
}

/// 0.1 ms to 3.3 s: a command may take 2 s by default.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 16))
}

/// The instruments of one kind of command. Clones share them.
#[derive(Clone, Debug)]
pub struct Instruments {
    duration: Histogram,
    errors: Counter,
}

impl Instruments {
    /// Carries out a command and takes note of how that went. One that is dropped before its end leaves no trace.
    pub async fn measured<T, E>(&self, command: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let began = Instant::now();
        let outcome = command.await;
        self.duration.observe(began.elapsed().as_secs_f64());
        if outcome.is_err() {
            self.errors.inc();
        }
        outcome
    }
}

type IsUp = Box<dyn Fn() -> bool + Send + Sync>;

/// 1 while everything that is watched is up, 0 otherwise and while nothing is watched.
#[derive(Clone, Default)]
struct Up(Arc<RwLock<Vec<IsUp>>>);

impl fmt::Debug for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Up")
    }
}

impl EncodeMetric for Up {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let watched = self.0.read();
        let is_up = !watched.is_empty() && watched.iter().all(|is_up| is_up());
        encoder.encode_gauge(&i64::from(is_up))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn it_is_up_while_all_that_is_watched_is() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let is_up = |registry: &Registry| text(registry).contains("\nchat_redis_up 1\n");
        assert!(!is_up(&registry), "nothing is connected yet");
        let there = Arc::new(AtomicBool::new(true));
        let watched = Arc::clone(&there);
        metrics.watch(|| true);
        metrics.watch(move || watched.load(Ordering::Relaxed));
        assert!(is_up(&registry));
        there.store(false, Ordering::Relaxed);
        assert!(!is_up(&registry));
    }

    #[tokio::test]
    async fn commands_are_timed_and_their_failures_counted() {
        let mut registry = Registry::default();
        let command = Metrics::register(&mut registry).instruments("ping");
        assert!(text(&registry).contains(r#"chat_redis_errors_total{kind="ping"} 0"#), "it exists from the start");
        command.measured(async { Ok::<_, ()>(()) }).await.unwrap();
        command.measured(async { Err::<(), _>(()) }).await.unwrap_err();
        let text = text(&registry);
        assert!(text.contains(r#"chat_redis_errors_total{kind="ping"} 1"#), "{text}");
        assert!(text.contains(r#"chat_redis_command_duration_seconds_count{kind="ping"} 2"#), "{text}");
    }
}
