//! The headers that name a request through every process.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use common_logging::TraceId;

/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What a request is called, from who has no trace context, and in every answer.
pub const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// The caller's `traceparent`, and what the request is called: as the caller says, or anew.
pub fn of_caller(headers: &HeaderMap) -> (Option<&str>, TraceId) {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let traceparent = text(TRACEPARENT);
    (traceparent, TraceId::from_headers(traceparent, text(TRACE_ID)))
}

/// Tells the caller what its request is called.
pub fn answer(headers: &mut HeaderMap, trace_id: &TraceId) {
    // Each id has the alphabet of a header.
    if let Ok(value) = HeaderValue::from_str(trace_id.as_str()) {
        headers.insert(TRACE_ID, value);
    }
}
