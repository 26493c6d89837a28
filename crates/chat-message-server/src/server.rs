//! Puts the server together.

use std::{sync::Arc, time::Duration};

use axum::Router;
use chat_domain::{Clock, ports::Storage};
use chat_events::bus::Publisher;
use common_auth::{AuthConfigError, TokenVerifier};
use common_logging::trace::Tracer;
use common_server::{ComponentHealth, Health, Lifecycle, http};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    accounts::Accounts,
    app::App,
    appender::Appender,
    config::Config,
    demo, docs,
    layers::{self, Tracing},
    limits::RequestLimits,
    metrics::Metrics,
    outbox::Outbox,
    routes,
    tokens::Tokens,
};

/// How often users that ask no more are forgotten by the rate limit.
const FORGET_INTERVAL: Duration = Duration::from_secs(10);

/// How long Redis may take to answer a look at its health: less than a check may take, because one that takes too long
/// means down, and without Redis this server is only slower.
const REDIS_CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the backends may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the server is built on. Whoever opened it closes it.
#[derive(Clone)]
pub struct Backends {
    /// The durable log.
    pub storage: Arc<dyn Storage>,
    /// The bus.
    pub publisher: Arc<dyn Publisher>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where traces go.
    pub tracer: Tracer,
}

impl Backends {
    /// Is what the server is built on well? Without the bus it still serves: readers repair from the log.
    pub fn health(&self) -> Health {
        let (storage, publisher) = (self.storage.clone(), self.publisher.clone());
        Health::default()
            .component("db", move || {
                let storage = storage.clone();
                async move {
                    match storage.ping().await {
                        Ok(()) => ComponentHealth::up(),
                        Err(error) => ComponentHealth::down(error.to_string()),
                    }
                }
            })
            .component("redis", move || {
                let publisher = publisher.clone();
                async move {
                    match tokio::time::timeout(REDIS_CHECK_TIMEOUT, publisher.ping()).await {
                        Ok(Ok(())) => ComponentHealth::up(),
                        Ok(Err(error)) => ComponentHealth::degraded(error.to_string()),
                        Err(_) => ComponentHealth::degraded("no answer in time"),
                    }
                }
            })
    }

    /// Gives connections back, after the lifecycle ended. A store or bus that does not answer is left behind after 2 s, and
    /// so is a collector that does not take the last traces.
    pub async fn close(&self) {
        let close = async { tokio::join!(self.publisher.close(), self.storage.close()) };
        if tokio::time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
            tracing::warn!("storage or Redis did not close in time");
        }
        self.tracer.shut_down();
    }
}

/// Serves the API on the listener, as part of the lifecycle's work. On shut-down it accepts no more, finishes the
/// requests it has, commits and publishes what they wished, and ends.
///
/// # Errors
/// The configuration of tokens is not usable.
pub fn serve(
    listener: TcpListener,
    config: &Config,
    backends: &Backends,
    registry: &mut Registry,
    lifecycle: &Lifecycle,
) -> Result<(), AuthConfigError> {
    let metrics = Arc::new(Metrics::register(registry));
    let limits = Arc::new(RequestLimits::new(&config.limits));
    let outbox = Outbox::start(backends.publisher.clone(), metrics.clone(), config.limits.publish_queue, lifecycle);
    let appender = Appender::start(
        backends.storage.clone(),
        outbox.clone(),
        metrics.clone(),
        config.limits.append_queue,
        lifecycle,
    );
    let app = Arc::new(App {
        storage: backends.storage.clone(),
        clock: backends.clock.clone(),
        tokens: Tokens::new(TokenVerifier::new(&config.auth)?),
        accounts: Accounts::new(backends.storage.clone(), backends.clock.clone()),
        limits: limits.clone(),
        appender,
        outbox,
        scope: lifecycle.work().clone(),
        auth: config.auth.clone(),
        demo: config.demo.clone(),
        tracer: backends.tracer.clone(),
    });
    let tracing = Tracing { metrics, clock: backends.clock.clone(), tracer: backends.tracer.clone() };
    let router = layers::around(router(app), &config.http, tracing);

    lifecycle.spawn("rate limits", forget_idle(limits, lifecycle.soft_token().clone()));
    let scope = lifecycle.work().clone();
    lifecycle.spawn_essential("http listener", http::serve(listener, router, config.http.limits(), scope));
    Ok(())
}

fn router(app: Arc<App>) -> Router {
    let (api, document) = routes::api();
    let pages = if app.demo.enabled { demo::page() } else { Router::new() };
    api.merge(pages).with_state(app).merge(demo::client()).merge(docs::router(document))
}

async fn forget_idle(limits: Arc<RequestLimits>, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(FORGET_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
        limits.forget_idle();
    }
}
