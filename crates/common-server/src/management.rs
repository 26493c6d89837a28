//! The management port: probes, actuator, metrics. It is never exposed with user traffic.

use std::sync::Arc;

use axum::{Router, routing::get};
use common_logging::LogHandle;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::{Health, Lifecycle, Readiness, ServerInfo, http, http::HttpLimits};

mod actuator;
mod loggers;
mod probes;

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
    links: Vec<&'static str>,
}

impl Management {
    /// Probes, health, info and metrics.
    pub fn new(info: ServerInfo, readiness: Readiness, health: Health, metrics: Arc<Registry>) -> Self {
        let router = Router::new()
            .route("/livez", get(probes::livez))
            .route("/readyz", get(probes::readyz))
            .route("/actuator", get(actuator::index))
            .route("/actuator/health", get(actuator::health))
            .route("/actuator/health/liveness", get(actuator::liveness))
            .route("/actuator/health/readiness", get(actuator::readiness))
            .route("/actuator/info", get(actuator::info))
            .route("/actuator/prometheus", get(actuator::prometheus));
        let links = vec!["health", "info", "prometheus"];
        Self { state: State { info, readiness, health, metrics, links }, router }
    }

    /// Adds `/actuator/loggers`, which shows and changes the log filter.
    #[must_use]
    pub fn loggers(self, logs: LogHandle) -> Self {
        self.endpoint("loggers", loggers::router(logs))
    }

    /// Adds an endpoint of the server's own under `/actuator/{name}`.
    #[must_use]
    pub fn endpoint(mut self, name: &'static str, router: Router) -> Self {
        self.router = self.router.nest_service(&format!("/actuator/{name}"), router);
        self.state.links.push(name);
        self
    }

    /// The routes, without a listener.
    pub fn into_router(self) -> Router {
        self.router.with_state(Arc::new(self.state))
    }

    /// Serves the port in the background scope: it still answers while the process drains.
    pub fn serve(self, listener: TcpListener, lifecycle: &Lifecycle) {
        let scope = lifecycle.background();
        let limits = HttpLimits { connections: CONNECTIONS, ..HttpLimits::default() };
        scope.spawn("management port", http::serve(listener, self.into_router(), limits, scope.clone()));
    }
}
