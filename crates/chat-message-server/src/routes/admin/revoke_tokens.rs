//! `POST /api/v1/admin/users/{userId}/revoke-tokens`

use std::sync::Arc;

use axum::{Json, extract::State};
use chat_domain::UserId;

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, OptionalJsonBody, Path},
    revocation::{RevokeTokens, RevokedTokens},
};

/// Revoke a user's tokens
///
/// For the role ADMIN. Tokens that were issued before the moment are void, and the sessions that were signed in with them
/// end at once.
#[utoipa::path(
    post, path = "/api/v1/admin/users/{userId}/revoke-tokens", tag = "admin", operation_id = "revokeTokens",
    params(("userId" = Uuid, Path)),
    request_body = Option<RevokeTokens>,
    responses(
        (status = 200, body = RevokedTokens),
        (status = 403, description = "`FORBIDDEN`, `USER_NOT_ACTIVE`"),
        (status = 404, description = "`USER_NOT_FOUND`"),
        (status = 422, description = "`VALIDATION_FAILED`"),
    ),
)]
pub(crate) async fn revoke_tokens(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<UserId>,
    OptionalJsonBody(wish): OptionalJsonBody<RevokeTokens>,
) -> Result<Json<RevokedTokens>, ApiError> {
    caller.must_be_admin()?;
    caller.may_write()?;
    let before = wish.before(&app, None)?;
    Ok(Json(app.revoke_tokens(id, before).await?))
}
