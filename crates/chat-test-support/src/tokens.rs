//! Tokens for tests.

use std::time::SystemTime;

use common_auth::{Claims, Role, TokenIssuer, UnixTime, development_user_id};
use secrecy::{ExposeSecret, SecretString};

/// Longer than any test.
const LIFETIME_SECS: i64 = 24 * 60 * 60;

/// A token of the development user `name`, signed with `secret`, valid for a day.
///
/// # Panics
/// When it cannot be signed.
#[must_use]
pub fn issue(secret: &str, name: &str, roles: &[Role]) -> String {
    issue_for(secret, name, roles, LIFETIME_SECS)
}

/// The same with a lifetime in seconds, counted from now; a negative one makes a token that has expired.
///
/// # Panics
/// When it cannot be signed.
#[must_use]
pub fn issue_for(secret: &str, name: &str, roles: &[Role], lifetime_secs: i64) -> String {
    sign(secret, &claims(name, roles, lifetime_secs))
}

/// A token as [`issue`] makes it, but made so many seconds from now, or before if the number is negative. The servers'
/// leeway lets them accept one that is made up to ten seconds from now.
///
/// # Panics
/// When it cannot be signed.
#[must_use]
pub fn issue_later(secret: &str, name: &str, roles: &[Role], secs: i64) -> String {
    let mut claims = claims(name, roles, LIFETIME_SECS);
    claims.iat = claims.iat.map(|now| now + secs);
    sign(secret, &claims)
}

/// A token as [`issue`] makes it, but one that does not say when it was made.
///
/// # Panics
/// When it cannot be signed.
#[must_use]
pub fn issue_undated(secret: &str, name: &str, roles: &[Role]) -> String {
    sign(secret, &Claims { iat: None, ..claims(name, roles, LIFETIME_SECS) })
}

fn claims(name: &str, roles: &[Role], lifetime_secs: i64) -> Claims {
    let mut claims = Claims::new(development_user_id(name), now(), lifetime_secs);
    claims.preferred_username = Some(name.to_owned());
    claims.roles = roles.to_vec();
    claims
}

fn sign(secret: &str, claims: &Claims) -> String {
    let token = TokenIssuer::new(&SecretString::from(secret)).issue(claims).expect("a token can be signed");
    token.expose_secret().to_owned()
}

fn now() -> UnixTime {
    #[expect(clippy::disallowed_methods, reason = "the servers under test read the real clock, so do their tokens")]
    let now = SystemTime::now();
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
    UnixTime::from_secs(i64::try_from(since_epoch.as_secs()).expect("seconds since 1970 fit"))
}
