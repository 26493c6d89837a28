//! A management port to ask.

use std::{any::Any, net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use common_logging::LogConfig;
use common_server::{ComponentHealth, Health, Latch, Lifecycle, Management, Readiness, ServerInfo};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

pub(crate) const ACTUATOR_JSON: &str = "application/vnd.spring-boot.actuator.v3+json";

const INFO: ServerInfo = ServerInfo {
    name: "test-server",
    version: "1.2.3",
    env_prefix: "APP_",
    git: Some("0123abcd 2026-01-02T03:04:05Z main"),
};

pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) storage: Latch,
    /// The filter lives as long as the subscriber that it belongs to.
    _subscriber: Box<dyn Any>,
}

impl Port {
    pub(crate) async fn open() -> Self {
        Self::open_with(ComponentHealth::up().detail("connections", 3)).await
    }

    /// A port that always says this of its component `db`.
    pub(crate) async fn open_with(db: ComponentHealth) -> Self {
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let readiness = Readiness::new(&lifecycle);
        let storage = readiness.latch("storage");
        let health = Health::default().component("db", move || std::future::ready(db.clone()));

        let rooms = Router::new().route("/", get(async || "all rooms")).route("/{id}", get(async || "one room"));
        let (subscriber, logs) = common_logging::subscriber(&LogConfig::default(), std::io::sink).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Management::new(INFO, readiness, health, metrics())
            .endpoint("rooms", rooms)
            .link("rooms-id", "rooms/{id}")
            .loggers(logs)
            .serve(listener, &lifecycle);
        Self { address, lifecycle, storage, _subscriber: Box::new(subscriber) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String, String) {
        taken_apart(reqwest::Client::new().get(self.url(path))).await
    }

    pub(crate) async fn json(&self, path: &str) -> (StatusCode, Value) {
        let (status, _, body) = self.get(path).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    pub(crate) async fn post(&self, path: &str, media_type: &str, body: &str) -> Response {
        let request = reqwest::Client::new().post(self.url(path)).header("content-type", media_type);
        request.body(body.to_owned()).send().await.unwrap()
    }
}

/// Status, media type and body of the answer.
pub(crate) async fn taken_apart(request: RequestBuilder) -> (StatusCode, String, String) {
    let answer = request.send().await.unwrap();
    let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (answer.status(), media_type, answer.text().await.unwrap())
}

/// One of each kind.
fn metrics() -> Registry {
    let mut metrics = Registry::default();
    let greetings = Family::<Vec<(String, String)>, Counter>::default();
    for (language, count) in [("en", 40), ("de", 2)] {
        greetings.get_or_create(&vec![("language".to_owned(), language.to_owned())]).inc_by(count);
    }
    metrics.register("greetings", "Said hello", greetings);
    let guests = Gauge::<i64>::default();
    guests.set(7);
    metrics.register("guests", "Are here", guests);
    let stay = Histogram::new([1.0, 10.0]);
    stay.observe(0.5);
    stay.observe(2.0);
    metrics.register("stay_seconds", "Time that they stayed", stay);
    metrics
}
