//! The documentation of the API, served from inside the binary.

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware,
};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

/// The page loads nothing from elsewhere; its own style sheet is not all that it styles with.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

/// `/docs` with the document that it shows.
pub(crate) fn router(document: OpenApi) -> Router {
    let docs = Router::from(SwaggerUi::new("/docs").url("/api/v1/openapi.json", document));
    docs.layer(middleware::map_response(async |response: axum::response::Response| {
        ([(header::CONTENT_SECURITY_POLICY, DOCS_POLICY)], response)
    }))
}
