//! Shows and changes the log filter while the process runs.

use axum::{
    Json, Router,
    extract::State as Extract,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use common_logging::{LogError, LogHandle};
use serde::{Deserialize, Serialize};

use crate::Problem;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Loggers {
    /// Levels by module, such as `info,chat_storage=debug`.
    filter: String,
}

pub(super) fn router(logs: LogHandle) -> Router {
    Router::new().route("/", get(show).post(change)).with_state(logs)
}

async fn show(Extract(logs): Extract<LogHandle>) -> Response {
    match logs.filter() {
        Ok(filter) => Json(Loggers { filter }).into_response(),
        Err(error) => refusal(&error),
    }
}

async fn change(Extract(logs): Extract<LogHandle>, Json(wanted): Json<Loggers>) -> Response {
    match logs.set_filter(&wanted.filter) {
        Ok(()) => {
            tracing::info!(log.filter = wanted.filter, "the log filter was changed");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &LogError) -> Response {
    let (status, code) = match error {
        LogError::Filter(_) => (StatusCode::BAD_REQUEST, "LOG_FILTER_INVALID"),
        LogError::Installed(_) | LogError::Gone(_) => (StatusCode::SERVICE_UNAVAILABLE, "LOGS_UNAVAILABLE"),
    };
    Problem::new(status, code).detail(error.to_string()).into_response()
}
