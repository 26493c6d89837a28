//! Every way in which a request fails, and the one place that gives each its status and its stable code.
//!
//! What a rule says no to is a [`Refusal`], made by chat-domain. What breaks the form of a request is made by the
//! extractors. Failures of machinery are logged once, where they are met, and carry no detail from there on.

use axum::http::StatusCode;
use chat_domain::{
    Refusal, Violation,
    ports::{CommandError, StorageError},
};
use common_auth::TokenError;
use common_server::FieldError;
use thiserror::Error;

use crate::{appender::AppendError, limits::Throttled};

mod answer;

pub(crate) use answer::complete;

/// Why a request is answered with a problem. The text is for the caller.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    #[error(transparent)]
    Unauthenticated(#[from] TokenError),
    #[error("{0}")]
    Forbidden(&'static str),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{}", broken_rules(.0))]
    Invalid(Vec<Violation>),
    #[error("the body is not JSON: {0}")]
    MalformedJson(String),
    #[error("a field is missing or has the wrong type")]
    InvalidBody(FieldError),
    #[error("{name}: {rule}")]
    InvalidParameter { name: &'static str, rule: String },
    #[error("the cursor was not made by this API")]
    InvalidCursor,
    #[error("Idempotency-Key and clientMessageId differ")]
    IdempotencyKeyMismatch,
    #[error("there is no such path")]
    RouteNotFound,
    #[error("there is no such message")]
    MessageNotFound,
    #[error("the path does not have this method")]
    MethodNotAllowed,
    #[error("the body is larger than allowed")]
    BodyTooLarge,
    #[error("the body must be application/json")]
    UnsupportedMediaType,
    #[error("too many requests")]
    RateLimited(Throttled),
    #[error("something went wrong here; the log knows more under the trace id")]
    Internal,
    #[error("storage cannot be reached at present")]
    StorageUnavailable,
    #[error("the server is overloaded")]
    Overloaded,
    #[error("the request took too long; it is not known whether it was carried out")]
    Timeout,
    #[error("the server is shutting down")]
    ShuttingDown,
}

impl ApiError {
    /// A path, query or header parameter that cannot be read.
    pub(crate) fn parameter(name: &'static str, rule: impl Into<String>) -> Self {
        Self::InvalidParameter { name, rule: rule.into() }
    }

    /// Ok if no rule is broken.
    pub(crate) fn check(violations: Vec<Violation>) -> Result<(), Self> {
        if violations.is_empty() { Ok(()) } else { Err(Self::Invalid(violations)) }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::MalformedJson(_)
            | Self::InvalidBody(_)
            | Self::InvalidParameter { .. }
            | Self::InvalidCursor
            | Self::IdempotencyKeyMismatch => StatusCode::BAD_REQUEST,
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Refused(refusal) => refused(refusal),
            Self::RouteNotFound | Self::MessageNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::StorageUnavailable | Self::Overloaded | Self::Timeout | Self::ShuttingDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated(error) => error.code(),
            Self::Forbidden(_) => "FORBIDDEN",
            Self::Refused(refusal) => refusal.code(),
            Self::Invalid(_) => "VALIDATION_FAILED",
            Self::MalformedJson(_) => "MALFORMED_JSON",
            Self::InvalidBody(_) => "INVALID_BODY",
            Self::InvalidParameter { .. } => "INVALID_PARAMETER",
            Self::InvalidCursor => "INVALID_CURSOR",
            Self::IdempotencyKeyMismatch => "IDEMPOTENCY_KEY_MISMATCH",
            Self::RouteNotFound => "ROUTE_NOT_FOUND",
            Self::MessageNotFound => "MESSAGE_NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::BodyTooLarge => "BODY_TOO_LARGE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::RateLimited(_) => "RATE_LIMITED",
            Self::Internal => "INTERNAL",
            Self::StorageUnavailable => "STORAGE_UNAVAILABLE",
            Self::Overloaded => "OVERLOADED",
            Self::Timeout => "TIMEOUT",
            Self::ShuttingDown => "SHUTTING_DOWN",
        }
    }
}

/// What the caller may not know of does not exist; what its rights do not allow is forbidden; what contradicts the state
/// of the thing itself is a conflict; the rest are rules that say no.
const fn refused(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::ChannelNotFound | Refusal::UserNotFound(_) | Refusal::ReplyTargetNotFound => StatusCode::NOT_FOUND,
        Refusal::NotAMember | Refusal::UserNotActive(_) | Refusal::RoleTooLow => StatusCode::FORBIDDEN,
        Refusal::ClientMessageIdReused | Refusal::StatusTransition { .. } => StatusCode::CONFLICT,
        Refusal::ChannelInactive | Refusal::TargetNotActive(_) | Refusal::DirectIsFixed | Refusal::OwnerCannotLeave => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
    }
}

fn broken_rules(violations: &[Violation]) -> String {
    match violations.len() {
        1 => "a rule is broken".into(),
        count => format!("{count} rules are broken"),
    }
}

/// The place where a failure of storage is logged; the caller hears the kind only.
impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(error = %error, error.cause = cause, "storage did not do what a request needs");
        match error {
            StorageError::Unavailable { .. } => Self::StorageUnavailable,
            StorageError::Failed { .. } => Self::Internal,
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::Storage(error) => error.into(),
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(refusal) => refusal.into(),
            AppendError::Overloaded => Self::Overloaded,
            AppendError::Closed => Self::ShuttingDown,
            AppendError::Unavailable => Self::StorageUnavailable,
            AppendError::Failed => Self::Internal,
        }
    }
}
