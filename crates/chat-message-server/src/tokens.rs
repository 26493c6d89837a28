//! Tokens that were verified lately: a client shows the same one with each request, and its signature stays as it is.

use std::{collections::HashMap, sync::Arc};

use common_auth::{SignedToken, TokenError, TokenVerifier, UnixTime};
use parking_lot::RwLock;

/// Tokens remembered. When there are more, all are forgotten and read again: that costs each of them microseconds.
const CAPACITY: usize = 4_096;
/// A longer one is read each time, so that what is remembered has a bound in bytes too.
const LONGEST: usize = 2 * 1024;

/// Verifies tokens.
pub(crate) struct Tokens {
    verifier: TokenVerifier,
    /// By their whole text. Good ones only: nobody can fill this without the key.
    signed: RwLock<HashMap<String, Arc<SignedToken>>>,
}

impl Tokens {
    pub(crate) fn new(verifier: TokenVerifier) -> Self {
        Self { verifier, signed: RwLock::default() }
    }

    /// The token, if it is good at this moment. Whether it was revoked is not known here.
    pub(crate) fn verify(&self, token: &str, now: UnixTime) -> Result<Arc<SignedToken>, TokenError> {
        let signed = self.signed(token)?;
        self.verifier.check_times(&signed, now)?;
        Ok(signed)
    }

    fn signed(&self, token: &str) -> Result<Arc<SignedToken>, TokenError> {
        if let Some(signed) = self.signed.read().get(token) {
            return Ok(signed.clone());
        }
        let signed = Arc::new(self.verifier.read(token)?);
        if token.len() <= LONGEST {
            let mut remembered = self.signed.write();
            if remembered.len() >= CAPACITY {
                remembered.clear();
            }
            remembered.insert(token.to_owned(), signed.clone());
        }
        Ok(signed)
    }
}

#[cfg(test)]
mod tests {
    use common_auth::{AuthConfig, Claims, TokenIssuer};
    use secrecy::ExposeSecret;
    use uuid::Uuid;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
    const TTL: i64 = 60;

    fn tokens() -> (Tokens, AuthConfig) {
        let config = AuthConfig { secret: SECRET.into(), ..AuthConfig::default() };
        (Tokens::new(TokenVerifier::new(&config).unwrap()), config)
    }

    fn issue(user: u128) -> String {
        let claims = Claims::new(Uuid::from_u128(user), NOW, TTL);
        TokenIssuer::new(&SECRET.into()).issue(&claims).unwrap().expose_secret().to_owned()
    }

    #[test]
    fn a_token_that_is_known_ends_in_time_all_the_same() {
        let (tokens, config) = tokens();
        let token = issue(1);
        assert_eq!(tokens.verify(&token, NOW).unwrap().principal.user_id, Uuid::from_u128(1));
        let over = NOW.as_millis() + 60_000 + i64::try_from(config.leeway.as_millis()).unwrap();
        assert!(tokens.verify(&token, UnixTime::from_millis(over - 1)).is_ok());
        assert_eq!(tokens.verify(&token, UnixTime::from_millis(over)), Err(TokenError::Expired));
    }

    #[test]
    fn what_was_changed_is_another_token() {
        let (tokens, _) = tokens();
        let (one, other) = (issue(1), issue(2));
        assert!(tokens.verify(&one, NOW).is_ok());
        assert!(tokens.verify(&other, NOW).is_ok());
        let (Some((signed, _)), Some((_, signature))) = (one.rsplit_once('.'), other.rsplit_once('.')) else {
            panic!()
        };
        assert_eq!(tokens.verify(&format!("{signed}.{signature}"), NOW), Err(TokenError::WrongSignature));
        assert_eq!(tokens.signed.read().len(), 2);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (tokens, _) = tokens();
        for user in 0..CAPACITY + 10 {
            assert!(tokens.verify(&issue(user as u128), NOW).is_ok());
        }
        assert_eq!(tokens.signed.read().len(), 10);
    }
}
