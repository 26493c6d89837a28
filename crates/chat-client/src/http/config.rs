//! Where the API is, and how patient to be.

use std::{fmt, sync::Arc, time::Duration};

use url::Url;

use crate::{ConfigError, TokenSource};

/// How an [`HttpClient`](crate::HttpClient) asks. Made by [`HttpConfig::new`], then changed field by field.
#[derive(Clone)]
pub struct HttpConfig {
    pub(super) base: Url,
    /// Where tokens come from. One is kept until the server refuses it.
    pub token: TokenSource,
    /// The bound of one attempt, from asking for a token to the end of the answer. Default: 15 s.
    pub attempt_timeout: Duration,
    /// How often a request is tried. Default: 6.
    pub attempts: u32,
    /// The most that the first delay between two attempts may be. It doubles with each further one. Default: 250 ms.
    pub backoff_first: Duration,
    /// The most that any delay may be, beside what the server asks for. Default: 10 s.
    pub backoff_most: Duration,
    /// The longest `Retry-After` that is obeyed; a longer one makes the answer final. Default: 30 s.
    pub retry_after_most: Duration,
    /// Which part of the longest allowed delay is taken, from 0 up to 1. Default: random.
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// How many messages may wait to be sent; more are refused with [`HttpError::TooManyWaiting`](crate::HttpError).
    /// Default: 256.
    pub waiting_sends: usize,
}

impl HttpConfig {
    /// The defaults, for the message server at `base` (`http://host:port`, or a path below which `/api/v1` is).
    ///
    /// # Errors
    /// The address cannot be that of a message server.
    pub fn new(base: &str, token: TokenSource) -> Result<Self, ConfigError> {
        // The text is not repeated in the error: an address may carry a password.
        let base = Url::parse(base).map_err(|error| ConfigError::Url(error.to_string()))?;
        if base.scheme() != "http" {
            return Err(ConfigError::Url(format!("the scheme must be http, not {}", base.scheme())));
        }
        Ok(Self {
            base,
            token,
            attempt_timeout: Duration::from_secs(15),
            attempts: 6,
            backoff_first: Duration::from_millis(250),
            backoff_most: Duration::from_secs(10),
            retry_after_most: Duration::from_secs(30),
            jitter: Arc::new(rand::random::<f64>),
            waiting_sends: 256,
        })
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("attempt_timeout", &self.attempt_timeout)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_work_are_refused() {
        for base in ["", "127.0.0.1:20001", "ws://127.0.0.1:20001", "http://"] {
            let config = HttpConfig::new(base, TokenSource::fixed("t"));
            assert!(matches!(config, Err(ConfigError::Url(_))), "{base}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let config = HttpConfig::new("http://user:hidden@127.0.0.1:1", TokenSource::fixed("hidden")).unwrap();
        assert!(!format!("{config:?}").contains("hidden"));
        let client = crate::HttpClient::new(config).unwrap();
        assert!(!format!("{client:?}").contains("hidden"));
    }
}
