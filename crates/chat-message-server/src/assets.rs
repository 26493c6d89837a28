//! What is served beside the API: its documentation and the JavaScript client, both from inside the binary.

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware,
    response::IntoResponse,
    routing::get,
};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

/// The documented browser client: one ES module.
const CLIENT: &str = include_str!("../web/chat-client.js");
/// The page loads nothing from elsewhere; its own style sheet is not all that it styles with.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

/// `/docs` with the document that it shows, and `/chat-client.js`.
pub(crate) fn router(document: OpenApi) -> Router {
    let docs = Router::from(SwaggerUi::new("/docs").url("/api/v1/openapi.json", document));
    docs.layer(middleware::map_response(async |response: axum::response::Response| {
        ([(header::CONTENT_SECURITY_POLICY, DOCS_POLICY)], response)
    }))
    .route("/chat-client.js", get(client))
}

/// Asked for again each time it is loaded, so that a page and the server it talks to are of one version.
async fn client() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], CLIENT)
}
