//! Every endpoint of the management port, asked over HTTP.

use std::{any::Any, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use common_logging::LogConfig;
use common_server::{ComponentHealth, Ending, Health, Latch, Lifecycle, Management, Readiness, ServerInfo};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

const INFO: ServerInfo = ServerInfo { name: "test-server", version: "1.2.3", env_prefix: "APP_" };

struct Port {
    address: SocketAddr,
    lifecycle: Lifecycle,
    storage: Latch,
    health: watch::Sender<ComponentHealth>,
    /// The filter lives as long as the subscriber that it belongs to.
    _subscriber: Box<dyn Any>,
}

impl Port {
    async fn open() -> Self {
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let readiness = Readiness::new(&lifecycle);
        let storage = readiness.latch("storage");
        let (health, now) = watch::channel(ComponentHealth::up().detail("connections", 3));
        let checks = Health::default().component("storage", move || {
            let now = now.borrow().clone();
            async move { now }
        });
        let mut metrics = Registry::default();
        let greetings = Counter::<u64>::default();
        greetings.inc_by(42);
        metrics.register("greetings", "Said hello", greetings);

        let rooms = Router::new().route("/", get(async || "all rooms")).route("/{id}", get(async || "one room"));
        let (subscriber, logs) = common_logging::subscriber(&LogConfig::default(), std::io::sink).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Management::new(INFO, readiness, checks, Arc::new(metrics))
            .endpoint("rooms", rooms)
            .loggers(logs)
            .serve(listener, &lifecycle);
        Self { address, lifecycle, storage, health, _subscriber: Box::new(subscriber) }
    }

    async fn get(&self, path: &str) -> (StatusCode, String, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.address)).await.unwrap();
        let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status(), media_type, answer.text().await.unwrap())
    }

    async fn json(&self, path: &str) -> (StatusCode, Value) {
        let (status, _, body) = self.get(path).await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

#[tokio::test]
async fn liveness_does_not_depend_on_readiness() {
    let port = Port::open().await;
    assert_eq!(port.get("/livez").await.0, StatusCode::OK);
    assert_eq!(port.json("/actuator/health/liveness").await, (StatusCode::OK, json!({"status": "UP"})));
}

#[tokio::test]
async fn readiness_follows_the_latches() {
    let port = Port::open().await;
    let starting = json!({"ready": false, "unready": {"storage": "starting"}});
    assert_eq!(port.json("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, starting));
    let out = json!({"status": "OUT_OF_SERVICE", "details": {"storage": "starting"}});
    assert_eq!(port.json("/actuator/health/readiness").await, (StatusCode::SERVICE_UNAVAILABLE, out));

    port.storage.set_ready();
    assert_eq!(port.json("/readyz").await, (StatusCode::OK, json!({"ready": true})));
    assert_eq!(port.json("/actuator/health/readiness").await, (StatusCode::OK, json!({"status": "UP"})));
}

#[tokio::test]
async fn health_has_the_shape_that_tools_expect() {
    let port = Port::open().await;
    let (status, media_type, body) = port.get("/actuator/health").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(media_type, "application/vnd.spring-boot.actuator.v3+json");
    let body: Value = serde_json::from_str(&body).unwrap();
    let up = json!({"status": "UP", "components": {"storage": {"status": "UP", "details": {"connections": 3}}}});
    assert_eq!(body, up);

    port.health.send_replace(ComponentHealth::degraded("slow"));
    let (status, body) = port.json("/actuator/health").await;
    assert_eq!((status, &body["status"]), (StatusCode::OK, &json!("DEGRADED")));

    port.health.send_replace(ComponentHealth::down("gone"));
    let (status, body) = port.json("/actuator/health").await;
    assert_eq!((status, &body["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("DOWN")));
    assert_eq!(body["components"]["storage"], json!({"status": "DOWN", "details": {"reason": "gone"}}));
}

#[tokio::test]
async fn every_link_of_the_actuator_leads_somewhere() {
    let port = Port::open().await;
    let (_, body) = port.json("/actuator").await;
    let links = body["_links"].as_object().unwrap();
    let names: Vec<_> = links.keys().map(String::as_str).collect();
    assert_eq!(names, ["health", "info", "loggers", "prometheus", "rooms", "self"]);
    for link in links.values() {
        let answer = reqwest::get(link["href"].as_str().unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{link}");
    }
    assert_eq!(port.get("/actuator/rooms/7").await.2, "one room");
}

#[tokio::test]
async fn info_and_metrics_are_shown() {
    let port = Port::open().await;
    let build = json!({"build": {"name": "test-server", "version": "1.2.3"}});
    assert_eq!(port.json("/actuator/info").await, (StatusCode::OK, build));
    let (_, media_type, text) = port.get("/actuator/prometheus").await;
    assert!(media_type.starts_with("application/openmetrics-text"), "{media_type}");
    assert!(text.contains("greetings_total 42\n") && text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn the_port_answers_while_the_process_drains_and_closes_at_the_end() {
    let port = Port::open().await;
    port.storage.set_ready();
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    port.lifecycle.spawn("work", async move {
        // Closed without a word would be an end too.
        let _ = finished.await;
    });

    let lifecycle = port.lifecycle.clone();
    let end = async { lifecycle.run_to_end_with(async || std::future::pending().await).await };
    let ask = async {
        port.lifecycle.shut_down();
        let draining = json!({"ready": false, "unready": {"lifecycle": "draining"}});
        assert_eq!(port.json("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, draining));
        assert_eq!(port.get("/livez").await.0, StatusCode::OK);
        finish.send(()).unwrap();
    };
    let (ending, ()) = tokio::join!(end, ask);

    assert_eq!(ending, Ending::Drained);
    let refused = reqwest::get(format!("http://{}/livez", port.address)).await.unwrap_err();
    assert!(refused.is_connect(), "{refused}");
}

#[tokio::test]
async fn the_log_filter_is_shown_and_changed_and_a_broken_one_refused() {
    let port = Port::open().await;
    let set = async |filter: &str| {
        let url = format!("http://{}/actuator/loggers", port.address);
        reqwest::Client::new().post(url).json(&json!({"filter": filter})).send().await.unwrap()
    };
    assert_eq!(port.json("/actuator/loggers").await, (StatusCode::OK, json!({"filter": "info"})));
    assert_eq!(set("warn").await.status(), StatusCode::NO_CONTENT);

    let refused = set("a=loud").await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "LOG_FILTER_INVALID");
    assert_eq!(port.json("/actuator/loggers").await, (StatusCode::OK, json!({"filter": "warn"})));
}
