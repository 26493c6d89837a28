//! `GET /api/v1/messages/health`

/// Does the API answer?
///
/// For load balancers that know nothing else. The state of what it needs is told on the management port.
#[utoipa::path(
    get, path = "/api/v1/messages/health", tag = "messages", operation_id = "getHealth",
    security(()),
    responses((status = 200, body = String, content_type = "text/plain", description = "`OK`")),
)]
pub(crate) async fn health() -> &'static str {
    "OK"
}
