//! What a token says.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Role, UnixTime};

/// The claims of a token to issue. What a verified token says is a [`Principal`](crate::Principal).
#[derive(Clone, Debug, Serialize)]
pub struct Claims {
    /// The user's id.
    pub sub: Uuid,
    /// When the token ends, in seconds since 1970. It is refused from this second on.
    pub exp: i64,
    /// When the token begins, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// When the token was made, in seconds since 1970. Without it, any revocation makes the token void.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Who made the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Whom the token is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// The user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
    /// Granted roles.
    pub roles: Vec<Role>,
    /// Granted authorities.
    pub authorities: Vec<String>,
}

impl Claims {
    /// The least that a token needs: a user, from now until `ttl_secs` later.
    pub fn new(user_id: Uuid, now: UnixTime, ttl_secs: i64) -> Self {
        Self {
            sub: user_id,
            exp: now.as_secs().saturating_add(ttl_secs),
            nbf: None,
            iat: Some(now.as_secs()),
            iss: None,
            aud: None,
            preferred_username: None,
            roles: Vec::new(),
            authorities: Vec::new(),
        }
    }
}

/// The claims of a token to check. Everything is optional here, so that the verifier can say what is missing.
#[derive(Deserialize)]
pub(crate) struct ReceivedClaims {
    pub(crate) sub: Option<String>,
    pub(crate) exp: Option<NumericDate>,
    pub(crate) nbf: Option<NumericDate>,
    pub(crate) iat: Option<NumericDate>,
    pub(crate) iss: Option<String>,
    pub(crate) aud: Option<Audience>,
    pub(crate) preferred_username: Option<String>,
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    #[serde(default)]
    pub(crate) authorities: Vec<String>,
}

/// Seconds since 1970, which may have a fraction.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
pub(crate) enum NumericDate {
    Whole(i64),
    Fraction(f64),
}

impl NumericDate {
    /// A float out of range is held at the end of the range, NaN becomes 0.
    #[expect(clippy::cast_possible_truncation, reason = "float to integer casts saturate")]
    pub(crate) fn time(self) -> UnixTime {
        match self {
            Self::Whole(secs) => UnixTime::from_secs(secs),
            Self::Fraction(secs) => UnixTime::from_millis((secs * 1_000.0) as i64),
        }
    }
}

/// One audience or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    pub(crate) fn contains(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}
