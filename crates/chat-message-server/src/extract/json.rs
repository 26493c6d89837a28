//! JSON bodies. What does not decode is named by a JSON pointer.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use common_server::FieldError;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_path_to_error::{Path, Segment, Track};

use crate::error::ApiError;

/// A body that must be there.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        if !is_json(request.headers()) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|error| unread(&error))?;
        decode(&bytes).map(Self)
    }
}

/// A body that may be absent, which is the same as `{}`.
pub(crate) struct OptionalJsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state).await.map_err(|error| unread(&error))?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if !json {
            return Err(ApiError::UnsupportedMediaType);
        }
        decode(&bytes).map(Self)
    }
}

/// Reads a field that may be `null`, which is not the same as absent: use with `#[serde(default)]`.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// Runs a decoding step on a part of a body. Errors point into `prefix`, the JSON pointer of that part.
pub(crate) fn decode_at<'de, T>(
    json: &'de str,
    prefix: &str,
    step: impl FnOnce(
        serde_path_to_error::Deserializer<'_, '_, &mut serde_json::Deserializer<serde_json::de::StrRead<'de>>>,
    ) -> Result<T, serde_json::Error>,
) -> Result<T, ApiError> {
    must_be_object(json.as_bytes(), prefix)?;
    let mut track = Track::new();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    step(serde_path_to_error::Deserializer::new(&mut deserializer, &mut track))
        .map_err(|error| undecodable(prefix, &track.path(), &error))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    must_be_object(bytes, "")?;
    // To keep track of the place costs as much again, and only what does not decode needs it.
    if let Ok(body) = serde_json::from_slice(bytes) {
        return Ok(body);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        // A field may be wrong in what is no JSON further on: then that is what to tell first.
        must_be_json(bytes).err().unwrap_or_else(|| undecodable("", error.path(), error.inner()))
    })?;
    deserializer.end().map_err(|error| ApiError::MalformedJson(error.to_string()))?;
    Ok(body)
}

fn must_be_json(bytes: &[u8]) -> Result<(), ApiError> {
    serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| ApiError::MalformedJson(error.to_string()))?;
    Ok(())
}

/// Arrays would decode too, as fields in the order of their declaration, which is no promise of the API.
fn must_be_object(json: &[u8], pointer: &str) -> Result<(), ApiError> {
    if json.trim_ascii_start().starts_with(b"{") {
        return Ok(());
    }
    must_be_json(json)?;
    Err(ApiError::InvalidBody(FieldError { pointer: pointer.to_owned(), detail: "must be an object".to_owned() }))
}

fn undecodable(prefix: &str, path: &Path, error: &serde_json::Error) -> ApiError {
    if !error.is_data() {
        return ApiError::MalformedJson(error.to_string());
    }
    let text = error.to_string();
    // The position is that of the parser, which means nothing inside a part, and the pointer says it better.
    let detail = text.rsplit_once(" at line ").map_or(text.as_str(), |(detail, _)| detail).to_owned();
    let mut pointer = format!("{prefix}{}", to_pointer(path));
    // Of a missing field only its parent has a path.
    if let Some(field) = detail.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        pointer = format!("{pointer}/{field}");
    }
    ApiError::InvalidBody(FieldError { pointer, detail })
}

/// RFC 6901.
fn to_pointer(path: &Path) -> String {
    let segments = path.iter().map(|segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    });
    segments.collect()
}

/// `application/json`, or any type whose suffix says that it is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn unread(error: &BytesRejection) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::BodyTooLarge;
    }
    ApiError::MalformedJson("the body ended too early".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase")]
    struct Thing {
        count: u8,
        #[serde(default, deserialize_with = "nullable")]
        note: Option<Option<String>>,
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        #[serde(rename = "a/b~c")]
        odd: bool,
    }

    fn field_error(body: &str) -> FieldError {
        match decode::<Thing>(body.as_bytes()) {
            Err(ApiError::InvalidBody(error)) => error,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn null_is_not_absent() {
        let decoded = |body: &str| decode::<Thing>(body.as_bytes()).unwrap().note;
        assert_eq!(decoded(r#"{"count":1,"inner":[]}"#), None);
        assert_eq!(decoded(r#"{"count":1,"inner":[],"note":null}"#), Some(None));
        assert_eq!(decoded(r#"{"count":1,"inner":[],"note":"x"}"#), Some(Some("x".into())));
    }

    #[test]
    fn what_does_not_fit_is_pointed_at() {
        let cases = [
            (r#"{"count":"one","inner":[]}"#, "/count"),
            (r#"{"count":300,"inner":[]}"#, "/count"),
            (r#"{"inner":[]}"#, "/count"),
            (r#"{"count":1,"inner":[{"a/b~c":true},{"a/b~c":7}]}"#, "/inner/1/a~1b~0c"),
            ("[]", ""),
            (r#"[1, "note", []]"#, ""),
            ("7", ""),
        ];
        for (body, pointer) in cases {
            assert_eq!(field_error(body).pointer, pointer, "{body}");
        }
    }

    #[test]
    fn details_have_no_parser_position() {
        let error = field_error(r#"{"count":"one","inner":[]}"#);
        assert_eq!(error.detail, r#"invalid type: string "one", expected u8"#);
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for body in [
            "",
            "{",
            "{} {}",
            r#"{"count":"x","#,
            r#"{"count":1,"inner":[]} x"#,
            "\u{0}",
            r#"{"count":1,"inner":[],}"#,
            "\u{feff}{}",
        ] {
            let decoded = decode::<Thing>(body.as_bytes());
            assert!(matches!(decoded, Err(ApiError::MalformedJson(_))), "{body:?}: {decoded:?}");
        }
        assert!(matches!(decode::<Thing>(b"{\"note\":\"\xff\"}"), Err(ApiError::MalformedJson(_))));
    }

    #[test]
    fn json_types_are_told_apart_from_others() {
        let headers = |value: &str| HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]);
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(is_json(&headers(good)), "{good}");
        }
        for bad in ["text/json", "application/x-www-form-urlencoded", "json", "application/jsonp", ""] {
            assert!(!is_json(&headers(bad)), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
