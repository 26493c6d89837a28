//! What can go wrong with a request.

use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::TokenError;

/// Why a request has no answer that helps, after all attempts.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The server refused.
    #[error("{code}: {detail} (status {status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code of the problem; `HTTP_…` with the status where the answer was no problem document.
        code: String,
        /// For a person to read.
        detail: String,
        /// How long the server asked to wait.
        retry_after: Option<Duration>,
    },
    /// No connection, or it broke before the answer was complete.
    #[error("the server cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No complete answer in the time of an attempt.
    #[error("no answer in time")]
    TimedOut,
    /// There is no token to ask with.
    #[error("no token")]
    NoToken(#[source] TokenError),
    /// So many messages wait to be sent that this one is refused.
    #[error("too many messages wait to be sent")]
    TooManyWaiting,
    /// The answer is not one of this API.
    #[error("the answer is not understood: {0}")]
    BadAnswer(String),
    /// The HTTP client of this machine cannot be set up, or the request cannot be made of what was given.
    #[error("the request cannot be made: {0}")]
    BadRequest(String),
}

impl HttpError {
    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        if let Self::Refused { status, .. } = self { Some(*status) } else { None }
    }

    /// May the same request pass later?
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Unreachable(_) | Self::TimedOut | Self::NoToken(_) => true,
            Self::TooManyWaiting | Self::BadAnswer(_) | Self::BadRequest(_) => false,
        }
    }

    pub(super) fn network(error: reqwest::Error) -> Self {
        // Without the address, which may carry a password.
        let error = error.without_url();
        if error.is_timeout() {
            return Self::TimedOut;
        }
        if error.is_builder() { Self::BadRequest(error.to_string()) } else { Self::Unreachable(error) }
    }

    /// What an answer with this status says.
    pub(super) fn refusal(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        // A proxy in between answers with something else.
        let Problem { code, detail, title } = serde_json::from_slice(body).unwrap_or_default();
        Self::Refused {
            status,
            code: code.unwrap_or_else(|| format!("HTTP_{status}")),
            detail: detail.or(title).unwrap_or_default(),
            retry_after,
        }
    }
}

#[derive(Default, Deserialize)]
struct Problem {
    code: Option<String>,
    detail: Option<String>,
    title: Option<String>,
}
