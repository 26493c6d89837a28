//! Parameters in the path and behind the question mark.

use axum::{
    extract::{FromRequestParts, rejection::QueryRejection},
    http::request::Parts,
};
use chat_domain::UserId;
use serde::{Deserialize, de::DeserializeOwned};

use crate::error::ApiError;

/// Rows in a page if the caller does not say.
const DEFAULT_LIMIT: u32 = 50;
/// Most rows in a page.
pub(crate) const LARGEST_LIMIT: u32 = 200;

/// The ids in the path.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(ids)| Self(ids))
            .map_err(|_| ApiError::parameter("path", "an id in it is not a UUID"))
    }
}

/// The parameters behind the question mark. Unknown ones are ignored.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        axum::extract::Query::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(parameters)| Self(parameters))
            .map_err(|error| ApiError::parameter("query", reason(&error)))
    }
}

fn reason(error: &QueryRejection) -> String {
    let text = error.body_text();
    text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text).to_owned()
}

/// How many rows a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct Limit(u32);

impl Limit {
    /// The number of rows.
    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

impl TryFrom<u32> for Limit {
    type Error = String;

    fn try_from(limit: u32) -> Result<Self, Self::Error> {
        if (1..=LARGEST_LIMIT).contains(&limit) {
            return Ok(Self(limit));
        }
        Err(format!("must be 1 to {LARGEST_LIMIT}"))
    }
}

/// A user in the path: by id, or `me`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum UserRef {
    /// Who asks.
    Me,
    /// Another one, or oneself.
    Id(UserId),
}

impl UserRef {
    /// The user that is meant.
    pub(crate) fn resolve(self, me: UserId) -> UserId {
        match self {
            Self::Me => me,
            Self::Id(id) => id,
        }
    }
}

impl TryFrom<String> for UserRef {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "me" {
            return Ok(Self::Me);
        }
        text.parse().map(Self::Id).map_err(|_| "must be a UUID or me")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_bounds() {
        assert_eq!(Limit::try_from(1), Ok(Limit(1)));
        assert_eq!(Limit::try_from(LARGEST_LIMIT), Ok(Limit(LARGEST_LIMIT)));
        assert!(Limit::try_from(0).is_err());
        assert!(Limit::try_from(LARGEST_LIMIT + 1).is_err());
    }

    #[test]
    fn me_is_the_caller() {
        let (me, other) = (UserId::from(uuid::Uuid::from_u128(1)), UserId::from(uuid::Uuid::from_u128(2)));
        let resolve = |text: &str| UserRef::try_from(text.to_owned()).map(|user| user.resolve(me));
        assert_eq!(resolve("me"), Ok(me));
        assert_eq!(resolve(&other.to_string()), Ok(other));
        assert!(resolve("Me").is_err());
    }
}
