//! Errors of an HTTP API as problem details, RFC 9457.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use common_logging::TraceId;
use serde::Serialize;

/// The answer to a request that failed: `application/problem+json`. It tells the caller what to change, and never what
/// went wrong inside: that belongs in the log.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A URI that names the kind of problem, `about:blank` if the status says it all.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of problem in a few words.
    title: String,
    /// The HTTP status code.
    status: u16,
    /// What was wrong with this very request.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The kind of problem for programs. It never changes its meaning.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    code: &'static str,
    /// Which fields were wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// Finds the request in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One wrong field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// A JSON pointer to the field (RFC 6901), such as `/payload/text`.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Problem {
    /// A problem of this kind, titled like the status.
    pub fn new(status: StatusCode, code: &'static str) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: None,
            instance: None,
            code,
            errors: Vec::new(),
            trace_id: None,
            headers: Vec::new(),
        }
    }

    /// Names the kind of problem by a URI and a title.
    #[must_use]
    pub fn kind(mut self, uri: impl Into<String>, title: impl Into<String>) -> Self {
        self.kind = uri.into();
        self.title = title.into();
        self
    }

    /// Says what was wrong with this very request.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names the path of the request.
    #[must_use]
    pub fn instance(mut self, path: impl Into<String>) -> Self {
        self.instance = Some(path.into());
        self
    }

    /// Adds a wrong field.
    #[must_use]
    pub fn error(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// Names the trace of the request.
    #[must_use]
    pub fn trace_id(mut self, id: &TraceId) -> Self {
        self.trace_id = Some(id.to_string());
        self
    }

    /// Adds a header to the answer, such as `Retry-After`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A struct of strings and numbers always encodes.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_said_is_in_the_answer() {
        let response = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "TOO_LONG")
            .kind("urn:problem:too-long", "Too long")
            .detail("text has 6000 characters")
            .instance("/things")
            .error("/text", "at most 5000 characters")
            .trace_id(&TraceId::from_x_trace_id("abc").unwrap())
            .header(header::RETRY_AFTER, 7)
            .into_response();

        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({
            "type": "urn:problem:too-long", "title": "Too long", "status": 422, "detail": "text has 6000 characters",
            "instance": "/things", "code": "TOO_LONG", "errors": [{"pointer": "/text", "detail": "at most 5000 characters"}],
            "traceId": "abc",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_was_not_said_is_left_out() {
        let json = serde_json::to_value(Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND")).unwrap();
        let expected =
            serde_json::json!({"type": "about:blank", "title": "Not Found", "status": 404, "code": "NOT_FOUND"});
        assert_eq!(json, expected);
    }
}
