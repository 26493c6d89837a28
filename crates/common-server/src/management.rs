//! The management port: probes, actuator, metrics. It is never exposed with user traffic.

use std::sync::Arc;

use axum::{Router, routing::get};
use common_logging::LogHandle;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::{Health, Lifecycle, Readiness, ServerInfo, disk_space, http, http::HttpLimits, metrics as process_metrics};

mod answer;
mod health;
mod index;
mod info;
mod loggers;
mod metrics;
mod probes;
mod prometheus;

/// A person, a scraper and a supervisor need few connections.
const CONNECTIONS: usize = 64;

/// What the management port shows.
pub struct Management {
    state: State,
    router: Router<Arc<State>>,
}

struct State {
    info: ServerInfo,
    readiness: Readiness,
    health: Health,
    metrics: Arc<Registry>,
    /// Names, with their paths below `/actuator`.
    links: Vec<(&'static str, &'static str)>,
}

impl Management {
    /// Probes, health, info and metrics. To those of the server come the component `diskSpace` and the metrics that
    /// every process has, so this is called where the tasks run.
    pub fn new(info: ServerInfo, readiness: Readiness, health: Health, mut metrics: Registry) -> Self {
        process_metrics::register(&mut metrics);
        let health = health.component("diskSpace", disk_space::check());
        let router = Router::new()
            .route("/livez", get(probes::livez))
            .route("/readyz", get(probes::readyz))
            .route("/actuator", get(index::show))
            .route("/actuator/health", get(health::all))
            .route("/actuator/health/{*path}", get(health::one))
            .route("/actuator/info", get(info::show))
            .route("/actuator/metrics", get(metrics::names))
            .route("/actuator/metrics/{name}", get(metrics::one))
            .route("/actuator/prometheus", get(prometheus::scrape));
        Self { state: State { info, readiness, health, metrics: Arc::new(metrics), links: Vec::new() }, router }
            .link("health", "health")
            .link("health-path", "health/{*path}")
            .link("info", "info")
            .link("metrics", "metrics")
            .link("metrics-requiredMetricName", "metrics/{requiredMetricName}")
            .link("prometheus", "prometheus")
    }

    /// Adds `/actuator/loggers`, which shows and changes the log filter.
    #[must_use]
    pub fn loggers(self, logs: LogHandle) -> Self {
        self.endpoint("loggers", loggers::router(logs)).link("loggers-name", "loggers/{name}")
    }

    /// Adds an endpoint of the server's own under `/actuator/{name}`.
    #[must_use]
    pub fn endpoint(mut self, name: &'static str, router: Router) -> Self {
        self.router = self.router.nest(&format!("/actuator/{name}"), router.with_state(()));
        self.link(name, name)
    }

    /// Shows in `/actuator` where something of an endpoint is to be found, such as `things-id` at `things/{id}`.
    #[must_use]
    pub fn link(mut self, name: &'static str, path: &'static str) -> Self {
        self.state.links.push((name, path));
        self
    }

    /// The routes, without a listener.
    pub fn into_router(self) -> Router {
        self.router
            .fallback(answer::not_found)
            .method_not_allowed_fallback(answer::method_not_allowed)
            .with_state(Arc::new(self.state))
    }

    /// Serves the port in the background scope: it still answers while the process drains.
    pub fn serve(self, listener: TcpListener, lifecycle: &Lifecycle) {
        let scope = lifecycle.background();
        let limits = HttpLimits { connections: CONNECTIONS, ..HttpLimits::default() };
        scope.spawn("management port", http::serve(listener, self.into_router(), limits, scope.clone()));
    }
}
