//! Every metric of the message server. Labels are bounded: routes by their pattern, never an id.
//! What each means is in `docs/metrics.md`, which a test compares with what a running server shows.

use std::{sync::atomic::AtomicI64, time::Duration};

use axum::http::{Method, StatusCode};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// The server's instruments.
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    request_duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    append_batch: Histogram,
    append_duration: Histogram,
    append_queue: Gauge<i64, AtomicI64>,
    append_queue_limit: Gauge<i64, AtomicI64>,
    publish_batch: Histogram,
    publish_failures: Counter,
    publish_queue: Gauge<i64, AtomicI64>,
    publish_queue_limit: Gauge<i64, AtomicI64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: &'static str,
}

impl Metrics {
    /// Makes the instruments and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            request_duration: Family::new_with_constructor(durations),
            // 1 to 256 in powers of two.
            append_batch: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            append_duration: durations(),
            append_queue: Gauge::default(),
            append_queue_limit: Gauge::default(),
            // 1 to 512 in powers of two.
            publish_batch: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            publish_failures: Counter::default(),
            publish_queue: Gauge::default(),
            publish_queue_limit: Gauge::default(),
        };
        registry.register("chat_http_requests", "Requests answered", metrics.requests.clone());
        registry.register(
            "chat_http_request_duration_seconds",
            "Time from the head of a request to its answer",
            metrics.request_duration.clone(),
        );
        registry.register("chat_append_batch_size", "Commands in one commit", metrics.append_batch.clone());
        registry.register("chat_append_duration_seconds", "Time of one commit", metrics.append_duration.clone());
        registry.register("chat_append_queue_depth", "Commands that wait for a commit", metrics.append_queue.clone());
        registry.register(
            "chat_append_queue_limit",
            "Most commands that may wait for a commit",
            metrics.append_queue_limit.clone(),
        );
        registry.register("chat_publish_batch_size", "Publications in one call", metrics.publish_batch.clone());
        registry.register(
            "chat_publish_failures",
            "Publications that may not have gone out",
            metrics.publish_failures.clone(),
        );
        registry.register("chat_publish_queue_depth", "Publications that wait", metrics.publish_queue.clone());
        registry.register(
            "chat_publish_queue_limit",
            "Most publications that may wait",
            metrics.publish_queue_limit.clone(),
        );
        metrics
    }

    /// A request was answered. `route` is the pattern of its path.
    pub(crate) fn answered(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let method = known(method);
        let labels = RequestLabels { route: route.to_owned(), method, status: status.as_u16() };
        self.requests.get_or_create(&labels).inc();
        let labels = RouteLabels { route: labels.route, method };
        self.request_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A batch was committed, or refused by the store.
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    pub(crate) fn appended(&self, commands: usize, took: Duration) {
        self.append_batch.observe(commands as f64);
        self.append_duration.observe(took.as_secs_f64());
    }

    /// So many commands wait now.
    pub(crate) fn append_queued(&self, waiting: usize) {
        self.append_queue.set(gauge(waiting));
    }

    /// So many commands may wait.
    pub(crate) fn append_queue_holds(&self, capacity: usize) {
        self.append_queue_limit.set(gauge(capacity));
    }

    /// So many publications go out together.
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    pub(crate) fn publishing(&self, count: usize) {
        self.publish_batch.observe(count as f64);
    }

    /// So many publications may wait.
    pub(crate) fn publish_queue_holds(&self, capacity: usize) {
        self.publish_queue_limit.set(gauge(capacity));
    }

    /// So many publications may not have gone out.
    pub(crate) fn publications_failed(&self, count: usize) {
        self.publish_failures.inc_by(count as u64);
    }

    /// So many publications wait now.
    pub(crate) fn publications_queued(&self, waiting: usize) {
        self.publish_queue.set(gauge(waiting));
    }

    #[cfg(test)]
    pub(crate) fn publish_failures(&self) -> u64 {
        self.publish_failures.get()
    }
}

/// 0.5 ms to 8 s.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 15))
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A client may send any word as a method; those that no route has share one label.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
