//! One request, as often as it takes.
//!
//! Everything that this client asks may be repeated: reading is harmless, and a message carries an id that makes its
//! second arrival the answer to the first.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use tokio::time::{sleep, timeout};
use tracing::debug;
use url::Url;

use super::{HttpConfig, HttpError};
use crate::backoff::Backoff;

/// Longer than any page: 200 events of 64 KiB.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

pub(super) struct Attempts {
    config: HttpConfig,
    api: Url,
    client: reqwest::Client,
    /// The token in use.
    token: Mutex<Option<Arc<str>>>,
}

impl Attempts {
    pub(super) fn new(config: HttpConfig) -> Result<Self, HttpError> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| HttpError::BadRequest(error.to_string()))?;
        let mut api = config.base.clone();
        api.path_segments_mut()
            .map_err(|()| HttpError::BadRequest("the address has no path".to_owned()))?
            .pop_if_empty()
            .extend(["api", "v1"]);
        Ok(Self { config, api, client, token: Mutex::default() })
    }

    /// The body of the answer, once there is a good one.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, HttpError> {
        let request = Request { method, url: self.url(path)?, query, body };
        let jitter = Arc::clone(&self.config.jitter);
        let HttpConfig { backoff_first, backoff_most, retry_after_most, .. } = self.config;
        let mut backoff = Backoff::new(backoff_first, backoff_most, Box::new(move || jitter()));
        let mut token_renewed = false;
        let mut left = self.config.attempts.max(1);
        loop {
            let error = match self.bounded(&request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // The token may just have expired; a new one is no second attempt.
            if error.status() == Some(401) && self.config.token.renews() && !token_renewed {
                token_renewed = true;
                continue;
            }
            left -= 1;
            let asked = if let HttpError::Refused { retry_after, .. } = &error { *retry_after } else { None };
            let asked = asked.unwrap_or_default();
            if left == 0 || !error.is_passing() || asked > retry_after_most {
                return Err(error);
            }
            let delay = asked + backoff.after_failure(Duration::ZERO);
            debug!(error = %error, delay = ?delay, attempts.left = left, "the request is tried again");
            sleep(delay).await;
        }
    }

    fn url(&self, path: &[&str]) -> Result<Url, HttpError> {
        let mut url = self.api.clone();
        url.path_segments_mut().map_err(|()| HttpError::BadRequest("the address has no path".to_owned()))?.extend(path);
        Ok(url)
    }

    async fn bounded(&self, request: &Request<'_>) -> Result<Vec<u8>, HttpError> {
        timeout(self.config.attempt_timeout, self.once(request)).await.unwrap_or(Err(HttpError::TimedOut))
    }

    async fn once(&self, request: &Request<'_>) -> Result<Vec<u8>, HttpError> {
        let token = self.token().await?;
        let Request { method, url, query, body } = request;
        let mut builder = self.client.request(method.clone(), url.clone()).bearer_auth(&token).query(query);
        if let Some(body) = body {
            builder = builder.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body.clone());
        }
        let mut response = builder.send().await.map_err(HttpError::network)?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let answer = read(&mut response).await?;
        if status.is_success() {
            return Ok(answer);
        }
        if status == StatusCode::UNAUTHORIZED {
            self.forget(&token);
        }
        Err(HttpError::refusal(status.as_u16(), retry_after, &answer))
    }

    async fn token(&self) -> Result<Arc<str>, HttpError> {
        if let Some(token) = self.token.lock().clone() {
            return Ok(token);
        }
        let token = self.config.token.token().await.map_err(HttpError::NoToken)?;
        *self.token.lock() = Some(Arc::clone(&token));
        Ok(token)
    }

    /// The server does not take this one; another may have come meanwhile.
    fn forget(&self, refused: &Arc<str>) {
        self.token.lock().take_if(|token| token == refused);
    }
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").field("config", &self.config).finish_non_exhaustive()
    }
}

struct Request<'a> {
    method: Method,
    url: Url,
    query: &'a [(&'a str, &'a str)],
    body: Option<Vec<u8>>,
}

async fn read(response: &mut Response) -> Result<Vec<u8>, HttpError> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(HttpError::network)? {
        if answer.len() + chunk.len() > LONGEST_ANSWER {
            return Err(HttpError::BadAnswer(format!("it is longer than {LONGEST_ANSWER} bytes")));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// Seconds only: a date is what proxies send that do not know when either.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
