//! Names a request in logs and in its answer.

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use common_server::trace;
use tracing::{Instrument, error_span, field::Empty};
use uuid::Uuid;

/// Takes the caller's trace id or makes one, for all log lines of the request, for the session that may come of it, and for
/// the answer.
pub(super) async fn name(mut request: Request, next: Next) -> Response {
    let (_, trace_id) = trace::of_caller(request.headers());
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
    trace::answer(response.headers_mut(), &trace_id);
    response
}
