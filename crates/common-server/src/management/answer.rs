//! What the endpoints of the actuator answer in.

use axum::{
    extract::OriginalUri,
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::Problem;

const ACTUATOR_JSON: &str = "application/vnd.spring-boot.actuator.v3+json";

pub(super) fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => (status, [(header::CONTENT_TYPE, ACTUATOR_JSON)], text).into_response(),
        Err(error) => {
            tracing::error!(error.message = %error, "an answer of the actuator cannot be encoded");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR").into_response()
        }
    }
}

/// Nothing is at this path.
pub(super) async fn not_found(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND").instance(uri.path())
}

/// Something is at this path, but not for this method. The router says for which.
pub(super) async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED")
        .detail(format!("{method} is not possible here"))
        .instance(uri.path())
}
