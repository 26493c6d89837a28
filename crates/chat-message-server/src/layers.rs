//! What happens to every request before and after its handler.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use chat_domain::{Clock, EventId};
use common_logging::{TraceId, trace::Tracer};
use common_server::trace::{self, TRACE_ID, TRACEPARENT};
use futures_util::FutureExt;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;
use tracing::Instrument;

use crate::{
    config::HttpConfig,
    error::{self, ApiError},
    metrics::Metrics,
};

const ON_BEHALF_OF: HeaderName = HeaderName::from_static("x-on-behalf-of");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long a browser may remember that an origin is allowed.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// Puts around the routes what happens to each request. It is one layer: each of its own would copy itself for every
/// request, in memory of its own.
pub(crate) fn around(router: Router, config: &HttpConfig, tracing: Tracing) -> Router {
    let around = Around {
        tracing,
        body_limit: DefaultBodyLimit::max(config.max_body),
        timeout: config.request_timeout,
        cors: (!config.allowed_origins.is_empty()).then(|| cors(config)),
    };
    router
        .fallback(async || ApiError::RouteNotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(Arc::new(around), trace))
}

/// What all requests have around them.
struct Around {
    tracing: Tracing,
    body_limit: DefaultBodyLimit,
    timeout: Duration,
    /// `None` where no origin but the server's own may ask.
    cors: Option<CorsLayer>,
}

impl Around {
    async fn answer(&self, request: Request, next: Next) -> Response {
        let Some(cors) = &self.cors else { return self.bounded(request, next).await };
        let inner = service_fn(|request| self.bounded(request, next.clone()).map(Ok::<_, Infallible>));
        match cors.layer(inner).oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// Gives up on a request after its time. What it had queued is carried out all the same.
    async fn bounded(&self, mut request: Request, next: Next) -> Response {
        self.body_limit.apply(&mut request);
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(response)) => response,
            // The panic itself was logged where it happened.
            Ok(Err(_panic)) => ApiError::Internal.into_response(),
            Err(_) => ApiError::Timeout.into_response(),
        }
    }
}

fn cors(config: &HttpConfig) -> CorsLayer {
    let origins = config.allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            IDEMPOTENCY_KEY,
            ON_BEHALF_OF,
            TRACEPARENT,
            TRACE_ID,
        ])
        .expose_headers([header::LOCATION, header::RETRY_AFTER, TRACE_ID])
        .max_age(PREFLIGHT_AGE)
}

/// Where requests are named.
pub(crate) struct Tracing {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tracer: Tracer,
}

/// Names the request in logs, traces, metrics, problems and the answer.
async fn trace(State(around): State<Arc<Around>>, mut request: Request, next: Next) -> Response {
    let tracing = &around.tracing;
    let started = Instant::now();
    let (traceparent, trace_id) = trace::of_caller(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // The pattern, so that there are as many names as routes. Files of the docs page share one.
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let mut traced = tracing.tracer.request(traceparent, &trace_id, method.as_str(), &route);
    // As an error, so that its fields stand in every line that the filter lets through.
    let span = tracing::error_span!(
        "request",
        trace.id = %trace_id,
        request.id = %EventId::new(tracing.clock.now()),
        http.request.method = method.as_str(),
        url.path = path,
        http.route = route,
        user.id = tracing::field::Empty,
    );
    request.extensions_mut().insert(trace_id.clone());
    if let Some(traced) = &traced {
        request.extensions_mut().insert(traced.place());
    }

    let response = around.answer(request, next).instrument(span.clone()).await;
    let mut response = error::complete(response, &path, &trace_id);
    finish(response.headers_mut(), &path, &trace_id);
    let took = started.elapsed();
    tracing.metrics.answered(&route, &method, response.status(), took);
    if let Some(traced) = &mut traced {
        traced.set("http.response.status_code", i64::from(response.status().as_u16()));
        if response.status().is_server_error() {
            traced.fail(response.status().as_str());
        }
    }
    span.in_scope(|| {
        let (status, millis) = (response.status().as_u16(), took.as_millis());
        tracing::debug!(http.response.status_code = status, duration.ms = millis, "answered");
    });
    response
}

fn finish(headers: &mut HeaderMap, path: &str, trace_id: &TraceId) {
    trace::answer(headers, trace_id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if path.starts_with("/api/") {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use chat_domain::SystemClock;
    use prometheus_client::registry::Registry;

    use super::*;

    async fn answer(router: Router, path: &str) -> (Response, serde_json::Value) {
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let config = HttpConfig { request_timeout: Duration::from_millis(20), ..HttpConfig::default() };
        let request = Request::builder().uri(path).header(TRACE_ID, "t-1").body(Body::empty()).unwrap();
        let tracing = Tracing { metrics, clock: Arc::new(SystemClock), tracer: Tracer::default() };
        let response = around(router, &config, tracing).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 10_000).await.unwrap();
        (Response::from_parts(parts, Body::empty()), serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_without_its_message() {
        async fn broken() {
            panic!("a secret of the inside");
        }
        let (response, problem) = answer(Router::new().route("/api/broken", get(broken)), "/api/broken?x=1").await;
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Internal Server Error", "status": 500, "code": "INTERNAL",
            "detail": "something went wrong here; the log knows more under the trace id",
            "instance": "/api/broken", "traceId": "t-1",
        });
        assert_eq!(problem, expected);
        assert_eq!(response.headers()[TRACE_ID], "t-1");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }

    #[tokio::test]
    async fn a_request_has_its_time() {
        let slow = get(std::future::pending::<()>);
        let (response, problem) = answer(Router::new().route("/slow", slow), "/slow").await;
        assert_eq!((response.status().as_u16(), problem["code"].as_str()), (503, Some("TIMEOUT")));
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_problem_too() {
        let (response, problem) = answer(Router::new(), "/nothing").await;
        assert_eq!((response.status().as_u16(), problem["code"].as_str()), (404, Some("ROUTE_NOT_FOUND")));
        let posted = Router::new().route("/only", axum::routing::post(async || ()));
        let (response, problem) = answer(posted, "/only").await;
        assert_eq!((response.status().as_u16(), problem["code"].as_str()), (405, Some("METHOD_NOT_ALLOWED")));
        assert_eq!(response.headers()[header::ALLOW], "POST");
    }
}
