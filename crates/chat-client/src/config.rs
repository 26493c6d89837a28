//! Where to connect, with which token, how to come back.

use std::{fmt, sync::Arc, time::Duration};

use chat_domain::{Clock, SystemClock};
use futures_util::future::BoxFuture;
use thiserror::Error;
use url::Url;

use crate::HttpClient;

/// Why a token source has no token.
pub type TokenError = Box<dyn std::error::Error + Send + Sync>;

type Ask = dyn Fn() -> BoxFuture<'static, Result<String, TokenError>> + Send + Sync;

/// How a [`Client`](crate::Client) connects and comes back. Made by [`ClientConfig::new`], then changed field by field.
pub struct ClientConfig {
    /// The instances; the next one is tried after each failure. Never empty.
    pub(crate) urls: Vec<Url>,
    /// Where tokens come from.
    pub token: TokenSource,
    /// How the token is shown. Default: [`SignIn::Header`].
    pub sign_in: SignIn,
    /// The most that the first delay before coming back may be. It doubles with each further failure. Default: 250 ms.
    pub backoff_first: Duration,
    /// The most that any delay before coming back may be, unless the server asks for a longer one. Default: 10 s.
    pub backoff_most: Duration,
    /// Which part of the longest allowed delay is taken, from 0 up to 1; asked once per failure. Default: random.
    pub jitter: Box<dyn FnMut() -> f64 + Send>,
    /// The bound of asking for a token, and of connecting until `HELLO`. Default: 10 s.
    pub connect_timeout: Duration,
    /// How long the answer to a subscription may take from its last sign, which each replayed event is; then the connection
    /// counts as broken. Default: 30 s.
    pub answer_timeout: Duration,
    /// Loads what cannot be replayed, so that the owner need not: see [`Item::Reset`](crate::Item::Reset). Default: none.
    pub history: Option<HttpClient>,
    /// How many items may wait for their owner; when they are that many, the client stops reading. Default: 256.
    pub queue: usize,
    /// Tells when a token is to be renewed. Default: the system's clock.
    pub clock: Arc<dyn Clock>,
}

impl ClientConfig {
    /// The defaults, for these instances (`ws://host:port/ws/chat`, at least one).
    pub fn new<U: AsRef<str>>(urls: &[U], token: TokenSource) -> Result<Self, ConfigError> {
        let urls = urls.iter().map(|url| instance_url(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err(ConfigError::NoUrl);
        }
        Ok(Self {
            urls,
            token,
            sign_in: SignIn::default(),
            backoff_first: Duration::from_millis(250),
            backoff_most: Duration::from_secs(10),
            jitter: Box::new(rand::random::<f64>),
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            history: None,
            queue: 256,
            clock: Arc::new(SystemClock),
        })
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("urls", &self.urls.len())
            .field("sign_in", &self.sign_in)
            .finish_non_exhaustive()
    }
}

fn instance_url(text: &str) -> Result<Url, ConfigError> {
    // The text is not repeated in the error: an address may carry a token.
    let url = Url::parse(text).map_err(|error| ConfigError::Url(error.to_string()))?;
    if url.scheme() != "ws" {
        return Err(ConfigError::Url(format!("the scheme must be ws, not {}", url.scheme())));
    }
    if !url.has_host() {
        return Err(ConfigError::Url("there is no host".to_owned()));
    }
    Ok(url)
}

/// Why a configuration is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// There is no instance to connect to.
    #[error("at least one URL is needed")]
    NoUrl,
    /// The address of an instance is not usable.
    #[error("not the address of an instance: {0}")]
    Url(String),
}

/// How the token is shown to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignIn {
    /// In the `Authorization` header: a bad one is refused before the upgrade.
    #[default]
    Header,
    /// In an `AUTH` frame, as browsers do.
    Frame,
}

/// Where tokens come from. It never shows one.
#[derive(Clone)]
pub enum TokenSource {
    /// Always the same token: the client ends when the server refuses it.
    Fixed(Arc<str>),
    /// A function that is asked at each connection, before a token expires, and after one was refused.
    Ask(Arc<Ask>),
}

impl TokenSource {
    /// Always this token.
    pub fn fixed(token: impl Into<Arc<str>>) -> Self {
        Self::Fixed(token.into())
    }

    /// Asks `ask` for each token. An error counts as a failed connection: it is tried again later.
    pub fn ask<F, R>(ask: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, TokenError>> + Send + 'static,
    {
        Self::Ask(Arc::new(move || Box::pin(ask())))
    }

    pub(crate) async fn token(&self) -> Result<Arc<str>, TokenError> {
        match self {
            Self::Fixed(token) => Ok(Arc::clone(token)),
            Self::Ask(ask) => ask().await.map(Arc::from),
        }
    }

    /// May a later token differ?
    pub(crate) const fn renews(&self) -> bool {
        matches!(self, Self::Ask(_))
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.renews() { "TokenSource::Ask" } else { "TokenSource::Fixed" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_work_are_refused() {
        let refused = |urls: &[&str]| ClientConfig::new(urls, TokenSource::fixed("t")).map(|_| ()).unwrap_err();
        assert_eq!(refused(&[]), ConfigError::NoUrl);
        for url in ["", "127.0.0.1:20002", "http://127.0.0.1/ws/chat", "ws:"] {
            assert!(matches!(refused(&[url]), ConfigError::Url(_)), "{url}");
        }
    }

    #[test]
    fn tokens_do_not_show() {
        let config =
            ClientConfig::new(&["ws://127.0.0.1:1/?access_token=hidden"], TokenSource::fixed("hidden")).unwrap();
        assert!(!format!("{config:?} {:?}", config.token).contains("hidden"));
    }
}
