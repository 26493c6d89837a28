//! The health of the whole, of its parts, and of the groups that orchestrators ask for.

use std::sync::Arc;

use axum::{
    extract::{OriginalUri, Path, State as Extract},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{State, answer};
use crate::{ComponentHealth, HealthStatus, health::HealthReport, readiness::LIFECYCLE};

/// All components. 503 when one that the process cannot do without is down.
pub(super) async fn all(Extract(state): Extract<Arc<State>>) -> Response {
    let report = state.health.check().await;
    let body = json!({
        "status": report.status, "components": report.components, "groups": ["liveness", "readiness"],
    });
    answer::json(http_status(report.status), &body)
}

/// A group, one component of a group, or one component of the whole.
pub(super) async fn one(Extract(state): Extract<Arc<State>>, Path(path): Path<String>, uri: OriginalUri) -> Response {
    let (first, rest) = path.split_once('/').map_or((path.as_str(), None), |(first, rest)| (first, Some(rest)));
    let (report, name) = match (first, rest) {
        ("liveness", name) => (Arc::new(liveness()), name),
        ("readiness", name) => (Arc::new(readiness(&state)), name),
        (name, None) => (state.health.check().await, Some(name)),
        (_, Some(_)) => return answer::not_found(uri).await.into_response(),
    };
    let Some(name) = name else { return answer::json(http_status(report.status), &*report) };
    match report.components.get(name) {
        Some(component) => answer::json(http_status(component.status()), component),
        None => answer::not_found(uri).await.into_response(),
    }
}

/// Is the process alive? Whoever reads the answer knows.
fn liveness() -> HealthReport {
    HealthReport::of([("livenessState", ComponentHealth::up())])
}

/// Is traffic welcome?
fn readiness(state: &State) -> HealthReport {
    let parts = state
        .readiness
        .parts()
        .into_iter()
        .map(|(name, held)| (name, held.map_or_else(ComponentHealth::up, ComponentHealth::out_of_service)));
    HealthReport::of(parts.map(|(name, part)| (if name == LIFECYCLE { "readinessState" } else { name }, part)))
}

fn http_status(status: HealthStatus) -> StatusCode {
    match status {
        HealthStatus::Up | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::OutOfService | HealthStatus::Down => StatusCode::SERVICE_UNAVAILABLE,
    }
}
