//! The section `[auth]` of a server's configuration.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// Below this many bytes an HS256 secret could be searched for.
const MIN_SECRET_BYTES: usize = 32;
/// A larger difference between two clocks is a fault to repair, not to forgive.
const MAX_LEEWAY: Duration = Duration::from_secs(120);

/// How tokens are checked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// The shared HS256 secret, at least 32 bytes. There is no default.
    #[serde(serialize_with = "masked")]
    pub secret: SecretString,
    /// If set, the claim `iss` must be equal to it.
    pub issuer: Option<String>,
    /// If set, the claim `aud` must name it.
    pub audience: Option<String>,
    /// How far the clocks of issuer and server may differ, at most 2 minutes. Default 10 seconds.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { secret: SecretString::default(), issuer: None, audience: None, leeway: Duration::from_secs(10) }
    }
}

impl AuthConfig {
    /// Are the values within their bounds?
    ///
    /// # Errors
    /// The first key whose value is not allowed.
    pub fn check(&self) -> Result<(), AuthConfigError> {
        let secret_bytes = self.secret.expose_secret().len();
        if secret_bytes == 0 {
            return Err(AuthConfigError::SecretMissing);
        }
        if secret_bytes < MIN_SECRET_BYTES {
            return Err(AuthConfigError::SecretTooShort(secret_bytes));
        }
        if self.leeway > MAX_LEEWAY {
            return Err(AuthConfigError::LeewayTooLong(self.leeway));
        }
        Ok(())
    }

    /// Where the keys come from.
    pub fn key_source(&self) -> KeySource {
        KeySource::Secret(self.secret.clone())
    }
}

/// A value in `[auth]` that is not allowed. The text names key, value and what is allowed, and never the secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthConfigError {
    /// No secret was given.
    #[error("auth.secret is missing; allowed: at least {MIN_SECRET_BYTES} bytes")]
    SecretMissing,
    /// The secret has only this many bytes.
    #[error("auth.secret has {0} bytes; allowed: at least {MIN_SECRET_BYTES} bytes")]
    SecretTooShort(usize),
    /// The leeway is over its bound.
    #[error("auth.leeway = {}; allowed: at most {}", humantime::format_duration(*.0), humantime::format_duration(MAX_LEEWAY))]
    LeewayTooLong(Duration),
}

/// Where the keys come from that signatures are checked with. Each source pins the algorithms that it accepts:
/// what a token's header asks for never selects another kind of key.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// One secret shared with the issuer: HS256.
    Secret(SecretString),
}

impl KeySource {
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Secret(_) => Algorithm::HS256,
        }
    }

    pub(crate) fn decoding_key(&self) -> DecodingKey {
        match self {
            Self::Secret(secret) => DecodingKey::from_secret(secret.expose_secret().as_bytes()),
        }
    }
}

fn masked<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.expose_secret().is_empty() { "" } else { "***" })
}
