//! The actuator: what a Spring Boot platform's tools expect to find.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State as Extract,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::State;
use crate::health::HealthStatus;

const ACTUATOR_JSON: &str = "application/vnd.spring-boot.actuator.v3+json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Links to everything there is.
pub(super) async fn index(Extract(state): Extract<Arc<State>>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let base = host.map_or_else(|| "/actuator".to_owned(), |host| format!("http://{host}/actuator"));
    let link = |href: String| json!({"href": href, "templated": false});

    let mut links = BTreeMap::from([("self", link(base.clone()))]);
    links.extend(state.links.iter().map(|name| (*name, link(format!("{base}/{name}")))));
    answer(StatusCode::OK, &json!({"_links": links}))
}

/// All components. 503 when one that the process cannot do without is down.
pub(super) async fn health(Extract(state): Extract<Arc<State>>) -> Response {
    let report = state.health.check().await;
    answer(http_status(report.status), &json!(report))
}

/// Is the process alive? Whoever reads the answer knows.
pub(super) async fn liveness() -> Response {
    answer(StatusCode::OK, &json!({"status": "UP"}))
}

/// Is traffic welcome?
pub(super) async fn readiness(Extract(state): Extract<Arc<State>>) -> Response {
    let unready = state.readiness.unready();
    if unready.is_empty() {
        return answer(StatusCode::OK, &json!({"status": "UP"}));
    }
    answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "OUT_OF_SERVICE", "details": unready}))
}

/// Name and version.
pub(super) async fn info(Extract(state): Extract<Arc<State>>) -> Response {
    answer(StatusCode::OK, &json!({"build": {"name": state.info.name, "version": state.info.version}}))
}

/// All metrics as text.
pub(super) async fn prometheus(Extract(state): Extract<Arc<State>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &state.metrics) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(error.message = %error, "the metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn http_status(status: HealthStatus) -> StatusCode {
    match status {
        HealthStatus::Up | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::Down => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, ACTUATOR_JSON)], body.to_string()).into_response()
}
