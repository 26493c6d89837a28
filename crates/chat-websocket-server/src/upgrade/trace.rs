//! Names a request in logs and in its answer.

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use common_logging::TraceId;
use tracing::{Instrument, error_span, field::Empty};
use uuid::Uuid;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// Takes the caller's trace id or makes one, for all log lines of the request, for the session that may come of it, and for
/// the answer.
pub(super) async fn name(mut request: Request, next: Next) -> Response {
    let trace_id = trace_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
    // As an error, so that its fields stand in every line that the filter lets through. Never the query: it has the token.
    let span = error_span!(
        "request",
        trace.id = %trace_id,
        request.id = %Uuid::now_v7(),
        http.request.method = %request.method(),
        url.path = request.uri().path(),
        http.route = route,
        user.id = Empty,
    );
    request.extensions_mut().insert(trace_id.clone());
    let mut response = next.run(request).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(trace_id.as_str()) {
        response.headers_mut().insert(TRACE_ID, value);
    }
    response
}

fn trace_id(headers: &HeaderMap) -> TraceId {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    TraceId::from_headers(text(TRACEPARENT), text(TRACE_ID))
}
