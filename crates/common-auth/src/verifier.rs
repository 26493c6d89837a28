//! Is this token good, and whose is it?

use std::time::Duration;

use jsonwebtoken::{DecodingKey, Validation, errors::ErrorKind};
use uuid::Uuid;

use crate::{
    AuthConfig, AuthConfigError, Principal, UnixTime,
    claims::{NumericDate, ReceivedClaims},
};

#[cfg(test)]
mod tests;

/// A longer token is refused before it is looked at.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Checks tokens against one key source. Cheap to ask, so ask for every request.
pub struct TokenVerifier {
    key: DecodingKey,
    signature: Validation,
    issuer: Option<String>,
    audience: Option<String>,
    leeway: Duration,
}

impl TokenVerifier {
    /// A verifier with the keys and expectations of the configuration.
    ///
    /// # Errors
    /// A value of the configuration is not allowed.
    pub fn new(config: &AuthConfig) -> Result<Self, AuthConfigError> {
        config.check()?;
        let keys = config.key_source();
        Ok(Self {
            key: keys.decoding_key(),
            signature: signature_only(&keys),
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            leeway: config.leeway,
        })
    }

    /// The principal that the token stands for at this moment.
    ///
    /// # Errors
    /// Why the token is refused. The text never holds any part of the token.
    pub fn verify(&self, token: &str, now: UnixTime) -> Result<Principal, TokenError> {
        let signed = self.read(token)?;
        self.check_times(&signed, now)?;
        Ok(signed.principal)
    }

    /// What stays true of the token whenever it is asked: it is signed, for us, and says this. Whoever asks often may keep
    /// that, and has to [check the times](Self::check_times) each time.
    ///
    /// # Errors
    /// As those of [`verify`](Self::verify).
    pub fn read(&self, token: &str) -> Result<SignedToken, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let claims = self.signed_claims(token)?;
        let expires_at = claims.exp.ok_or(TokenError::NoExpiry)?.time();
        self.check_parties(&claims)?;
        let begins_at = claims.nbf.map(NumericDate::time).max(claims.iat.map(NumericDate::time));
        Ok(SignedToken { principal: principal(claims, expires_at)?, begins_at })
    }

    /// Is the token good at this moment?
    ///
    /// # Errors
    /// Its time is over or is still to come.
    pub fn check_times(&self, token: &SignedToken, now: UnixTime) -> Result<(), TokenError> {
        let leeway = i64::try_from(self.leeway.as_millis()).unwrap_or(i64::MAX);
        if now.as_millis() >= token.principal.expires_at.as_millis().saturating_add(leeway) {
            return Err(TokenError::Expired);
        }
        // A token that claims to be made later than now would outlive a revocation that comes in between.
        let latest = now.as_millis().saturating_add(leeway);
        if token.begins_at.is_some_and(|begin| latest < begin.as_millis()) {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }

    fn signed_claims(&self, token: &str) -> Result<ReceivedClaims, TokenError> {
        let token = jsonwebtoken::decode::<ReceivedClaims>(token, &self.key, &self.signature)?;
        // RFC 7515, 4.1.11: whoever does not understand an extension marked critical must refuse the token.
        if token.header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        Ok(token.claims)
    }

    fn check_parties(&self, claims: &ReceivedClaims) -> Result<(), TokenError> {
        if self.issuer.is_some() && claims.iss != self.issuer {
            return Err(TokenError::WrongIssuer);
        }
        let Some(audience) = &self.audience else { return Ok(()) };
        if !claims.aud.as_ref().is_some_and(|aud| aud.contains(audience)) {
            return Err(TokenError::WrongAudience);
        }
        Ok(())
    }
}

/// A token whose signature and parties are right, whatever the time is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedToken {
    /// Whom it stands for.
    pub principal: Principal,
    /// The later one of the claims `nbf` and `iat`.
    begins_at: Option<UnixTime>,
}

/// The library checks algorithm and signature; times and parties are checked here, against the time passed in.
fn signature_only(keys: &crate::KeySource) -> Validation {
    let mut validation = Validation::new(keys.algorithm());
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn principal(claims: ReceivedClaims, expires_at: UnixTime) -> Result<Principal, TokenError> {
    let subject = claims.sub.ok_or(TokenError::NoSubject)?;
    let user_id = Uuid::try_parse(&subject).map_err(|_| TokenError::NoSubject)?;
    Ok(Principal {
        user_id,
        username: claims.preferred_username,
        roles: claims.roles.iter().filter_map(|name| name.parse().ok()).collect(),
        authorities: claims.authorities,
        issued_at: claims.iat.map(NumericDate::time),
        expires_at,
    })
}

/// Why a token is refused. [`code`](Self::code) is stable; the text is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("a token is required")]
    Missing,
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not a signed JSON web token with the expected claims.
    #[error("the token is malformed")]
    Malformed,
    /// Signed with an algorithm that is not accepted here.
    #[error("the token's algorithm is not accepted")]
    WrongAlgorithm,
    /// The signature does not fit token and key.
    #[error("the token's signature is wrong")]
    WrongSignature,
    /// `sub` is missing or not a UUID.
    #[error("the token has no user id")]
    NoSubject,
    /// `exp` is missing.
    #[error("the token has no expiry")]
    NoExpiry,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` is still to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Its user's tokens of that time were revoked. Who asks storage finds that out, not the verifier.
    #[error("the token was revoked")]
    Revoked,
    /// `iss` is not the configured issuer.
    #[error("the token comes from another issuer")]
    WrongIssuer,
    /// `aud` does not name the configured audience.
    #[error("the token is for another audience")]
    WrongAudience,
}

impl TokenError {
    /// The stable code of the refusal.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "TOKEN_MISSING",
            Self::Expired => "TOKEN_EXPIRED",
            Self::NotYetValid => "TOKEN_NOT_YET_VALID",
            Self::Revoked => "TOKEN_REVOKED",
            Self::TooLong
            | Self::Malformed
            | Self::WrongAlgorithm
            | Self::WrongSignature
            | Self::NoSubject
            | Self::NoExpiry
            | Self::WrongIssuer
            | Self::WrongAudience => "TOKEN_INVALID",
        }
    }
}

impl From<jsonwebtoken::errors::Error> for TokenError {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::UnsupportedAlgorithm => {
                Self::WrongAlgorithm
            }
            ErrorKind::InvalidSignature => Self::WrongSignature,
            _ => Self::Malformed,
        }
    }
}
