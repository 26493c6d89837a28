//! Making tokens void, which a user may wish for itself and an administrator for anyone.

use std::sync::Arc;

use chat_domain::{Timestamp, UserId, Violation};
use chat_events::UserSignal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{app::App, error::ApiError};

/// Which tokens are to be void.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct RevokeTokens {
    /// Those that were issued before this moment; without it all that were issued until now.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    before: Option<Timestamp>,
}

/// Which tokens are void.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RevokedTokens {
    #[schema(value_type = Uuid)]
    user_id: UserId,
    /// Those that were issued before this moment.
    #[schema(value_type = String, format = DateTime)]
    tokens_valid_from: Timestamp,
}

impl RevokeTokens {
    /// The moment that is meant, where one of the tokens is known to have been issued at `issued_at`.
    pub(crate) fn before(&self, app: &App, issued_at: Option<Timestamp>) -> Result<Timestamp, ApiError> {
        let leeway = i64::try_from(app.auth.leeway.as_millis()).unwrap_or(i64::MAX);
        moment(self.before, app.clock.now(), issued_at, leeway)
    }
}

/// A moment that is asked for may be as far ahead as the issuer's clock may be. Otherwise it is the millisecond after now,
/// and after the known token by a clock that is ahead: both are still among what was issued before.
fn moment(
    asked: Option<Timestamp>,
    now: Timestamp,
    issued_at: Option<Timestamp>,
    leeway: i64,
) -> Result<Timestamp, ApiError> {
    let Some(before) = asked else {
        let latest = issued_at.map_or(now, |at| at.max(now));
        return Ok(Timestamp::from_millis(latest.as_millis().saturating_add(1)));
    };
    if before.as_millis() > now.as_millis().saturating_add(leeway) {
        return Err(ApiError::Invalid(vec![Violation::new("before", "must not be in the future")]));
    }
    Ok(before)
}

impl App {
    /// Makes tokens of a user void and tells its sessions.
    pub(crate) async fn revoke_tokens(
        self: &Arc<Self>,
        user_id: UserId,
        before: Timestamp,
    ) -> Result<RevokedTokens, ApiError> {
        let app = self.clone();
        let work = async move {
            let revoked = app.storage.revoke_tokens(user_id, before).await;
            // Also after a failure: it may have been done.
            app.accounts.forget(user_id);
            let tokens_valid_from = revoked?;
            app.outbox.signal(&UserSignal::TokensRevoked { user_id, before: tokens_valid_from });
            tracing::info!(revoked.user.id = %user_id, revoked.before = %tokens_valid_from, "tokens revoked");
            Ok(RevokedTokens { user_id, tokens_valid_from })
        };
        self.to_the_end(work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_338_000_000);
    const LEEWAY: i64 = 10_000;

    fn after_now(millis: i64) -> Timestamp {
        Timestamp::from_millis(NOW.as_millis() + millis)
    }

    #[test]
    fn without_a_moment_it_is_right_after_now_and_after_the_token_of_the_request() {
        for (issued_at, before) in
            [(None, 1), (Some(after_now(-1_000)), 1), (Some(NOW), 1), (Some(after_now(9_000)), 9_001)]
        {
            assert_eq!(moment(None, NOW, issued_at, LEEWAY).unwrap(), after_now(before), "{issued_at:?}");
        }
    }

    #[test]
    fn a_moment_may_be_ahead_by_the_leeway_and_spare_the_token_of_the_request() {
        for millis in [-1_000_000, 0, LEEWAY] {
            assert_eq!(moment(Some(after_now(millis)), NOW, Some(NOW), LEEWAY).unwrap(), after_now(millis));
        }
        let refused = moment(Some(after_now(LEEWAY + 1)), NOW, None, LEEWAY);
        assert!(matches!(refused, Err(ApiError::Invalid(violations)) if violations[0].field == "before"));
    }
}
