//! Tokens for development, demos and tests. In production another service signs them.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::Claims;

/// Fixed for ever: the ids of development users are derived from it.
const DEVELOPMENT_USERS: Uuid = Uuid::from_u128(0x6f1d_3c1e_5a0b_4f7e_9d53_0c2a_7be4_81d6);

/// Signs tokens with HS256.
pub struct TokenIssuer {
    key: EncodingKey,
}

impl TokenIssuer {
    /// An issuer whose tokens a verifier with the same secret accepts.
    pub fn new(secret: &SecretString) -> Self {
        Self { key: EncodingKey::from_secret(secret.expose_secret().as_bytes()) }
    }

    /// A signed token with these claims.
    ///
    /// # Errors
    /// The claims cannot be encoded or signed.
    pub fn issue(&self, claims: &Claims) -> Result<SecretString, IssueError> {
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.key)?;
        Ok(token.into())
    }
}

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the token could not be signed")]
pub struct IssueError(#[from] jsonwebtoken::errors::Error);

/// The id of a development user: the same name, in any case, always has the same id.
pub fn development_user_id(name: &str) -> Uuid {
    Uuid::new_v5(&DEVELOPMENT_USERS, name.to_lowercase().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_users_have_fixed_ids() {
        assert_eq!(development_user_id("alice"), development_user_id("Alice"));
        assert_ne!(development_user_id("alice"), development_user_id("bob"));
        assert_eq!(development_user_id("alice").get_version_num(), 5);
    }
}
