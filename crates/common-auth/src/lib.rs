//! Tokens in, authenticated principals out.
//!
//! A server builds one [`TokenVerifier`] from its [`AuthConfig`] and asks it about every token:
//! the answer is a [`Principal`] or a [`TokenError`] with a stable code. Time is passed in as a [`UnixTime`].
//! [`TokenIssuer`] makes tokens for development, demos and tests.

mod claims;
mod config;
mod issuer;
mod principal;
mod time;
mod verifier;

pub use claims::Claims;
pub use config::{AuthConfig, AuthConfigError, KeySource};
pub use issuer::{IssueError, TokenIssuer, development_user_id};
pub use principal::{Principal, Role, UnknownRole};
pub use time::UnixTime;
pub use verifier::{MAX_TOKEN_BYTES, SignedToken, TokenError, TokenVerifier};
