//! Probes for orchestrators.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State as Extract, http::StatusCode};
use serde::Serialize;

use super::State;

#[derive(Serialize)]
pub(super) struct Ready {
    ready: bool,
    /// What holds readiness off, with its reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unready: BTreeMap<&'static str, String>,
}

/// Answers as long as the process can answer at all.
pub(super) async fn livez() -> &'static str {
    "ok"
}

/// 200 when traffic is welcome, 503 with the latches that hold it off otherwise.
pub(super) async fn readyz(Extract(state): Extract<Arc<State>>) -> (StatusCode, Json<Ready>) {
    let unready = state.readiness.unready();
    let ready = unready.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, unready }))
}
