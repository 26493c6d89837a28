//! How an [`ApiError`] becomes a response.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use common_logging::TraceId;
use common_server::Problem;

use super::ApiError;
use crate::limits::Throttled;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATE_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What a caller shall wait before it tries again, in seconds.
const RETRY_AFTER: u64 = 1;

/// The response has its status and carries the problem, to which [`complete`] adds what only the outermost layer knows.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = problem(&self);
        let mut response = problem.status().into_response();
        response.extensions_mut().insert(problem);
        response
    }
}

/// Writes the problem that a response carries, if it carries one, with the request's path and trace. Headers that were
/// set before stay.
pub(crate) fn complete(mut response: Response, path: &str, trace_id: &TraceId) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let (parts, _) = response.into_parts();
    let mut response = problem.instance(path).trace_id(trace_id).into_response();
    for (name, value) in &parts.headers {
        if name != header::CONTENT_LENGTH {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
    response
}

fn problem(error: &ApiError) -> Problem {
    let problem = Problem::new(error.status(), error.code()).detail(error.to_string());
    match error {
        ApiError::Unauthenticated(_) => problem.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        ApiError::Invalid(violations) => violations.iter().fold(problem, |problem, violation| {
            problem.error(format!("/{}", violation.field.replace('.', "/")), violation.rule.clone())
        }),
        ApiError::InvalidBody(field) => problem.error(field.pointer.clone(), field.detail.clone()),
        ApiError::RateLimited(throttled) => rate_limited(problem, *throttled),
        ApiError::StorageUnavailable | ApiError::Overloaded | ApiError::Timeout | ApiError::ShuttingDown => {
            problem.header(header::RETRY_AFTER, RETRY_AFTER)
        }
        _ => problem,
    }
}

fn rate_limited(problem: Problem, throttled: Throttled) -> Problem {
    // Whole seconds, rounded up: who comes back then is let in.
    let seconds = throttled.wait.as_millis().div_ceil(1_000).max(1);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    problem
        .header(header::RETRY_AFTER, seconds)
        .header(RATE_LIMIT, throttled.burst)
        .header(RATE_REMAINING, 0)
        .header(RATE_RESET, seconds)
}
