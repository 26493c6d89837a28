//! Who asks.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use chat_domain::{Actor, Refusal, Timestamp, User, UserId, user::is_void};
use common_auth::{Principal, Role, TokenError, UnixTime};
use common_logging::{TraceId, trace::Place};

use crate::{app::App, error::ApiError};

const ON_BEHALF_OF: &str = "x-on-behalf-of";

/// The authenticated user that a request counts as, which may read at least.
pub(crate) struct Caller {
    /// The user.
    pub(crate) user: Arc<User>,
    /// May it speak for the platform: send SYSTEM messages?
    pub(crate) speaks_for_platform: bool,
    /// The trace of its request.
    pub(crate) trace_id: Option<TraceId>,
    /// When its token was issued, if that is known and the token is its own.
    pub(crate) token_issued_at: Option<Timestamp>,
    /// Where spans of its request hang, if it is traced.
    pub(crate) traced: Option<Place>,
    admin: bool,
}

impl Caller {
    /// Its user id.
    pub(crate) fn id(&self) -> UserId {
        self.user.id
    }

    /// As what it acts in channels.
    pub(crate) fn actor(&self) -> Actor {
        Actor { user_id: self.user.id, admin: self.admin }
    }

    /// Refuses who may read only.
    pub(crate) fn may_write(&self) -> Result<(), Refusal> {
        if self.user.status.may_write() { Ok(()) } else { Err(Refusal::UserNotActive(self.user.status)) }
    }

    /// Refuses all but administrators.
    pub(crate) fn must_be_admin(&self) -> Result<(), ApiError> {
        if self.admin { Ok(()) } else { Err(ApiError::Forbidden("this needs the role ADMIN")) }
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        let now = UnixTime::from_millis(app.clock.now().as_millis());
        let token = app.tokens.verify(bearer(&parts.headers)?, now)?;
        let principal = &token.principal;
        let principal_id = UserId::from(principal.user_id);
        let acts_for = on_behalf_of(&parts.headers, principal)?.filter(|id| *id != principal_id);
        let user_id = acts_for.unwrap_or(principal_id);
        tracing::Span::current().record("user.id", tracing::field::display(user_id));
        app.limits.check(user_id).map_err(ApiError::RateLimited)?;

        let issued_at = principal.issued_at.map(|at| Timestamp::from_millis(at.as_millis()));
        let mut user = app.accounts.user(principal_id, principal.username.as_deref()).await?;
        if is_void(issued_at, user.tokens_valid_from) {
            return Err(TokenError::Revoked.into());
        }
        must_read(&user)?;
        if let Some(id) = acts_for {
            user = app.accounts.user(id, None).await?;
            must_read(&user)?;
        }
        let admin = principal.has_role(Role::Admin);
        Ok(Self {
            user,
            speaks_for_platform: admin || principal.has_role(Role::Service),
            trace_id: parts.extensions.get::<TraceId>().cloned(),
            token_issued_at: issued_at.filter(|_| acts_for.is_none()),
            traced: parts.extensions.get::<Place>().copied(),
            // Whose name is borrowed lends no more than its own rights.
            admin: admin && acts_for.is_none(),
        })
    }
}

fn must_read(user: &User) -> Result<(), Refusal> {
    if user.status.may_read() { Ok(()) } else { Err(Refusal::UserNotActive(user.status)) }
}

fn bearer(headers: &HeaderMap) -> Result<&str, TokenError> {
    let value = headers.get(header::AUTHORIZATION).ok_or(TokenError::Missing)?;
    let text = value.to_str().map_err(|_| TokenError::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(TokenError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Missing);
    }
    Ok(token.trim())
}

fn on_behalf_of(headers: &HeaderMap, principal: &Principal) -> Result<Option<UserId>, ApiError> {
    let Some(value) = headers.get(ON_BEHALF_OF) else { return Ok(None) };
    if !principal.has_role(Role::Service) {
        return Err(ApiError::Forbidden("X-On-Behalf-Of needs the role SERVICE"));
    }
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| ApiError::parameter("X-On-Behalf-Of", "must be a user id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn bearer_tokens_are_found() {
        assert_eq!(bearer(&authorization("Bearer abc")), Ok("abc"));
        assert_eq!(bearer(&authorization("bearer abc")), Ok("abc"));
    }

    #[test]
    fn other_schemes_are_no_token() {
        assert_eq!(bearer(&HeaderMap::new()), Err(TokenError::Missing));
        assert_eq!(bearer(&authorization("Basic abc")), Err(TokenError::Missing));
        assert_eq!(bearer(&authorization("Bearer")), Err(TokenError::Missing));
    }
}
