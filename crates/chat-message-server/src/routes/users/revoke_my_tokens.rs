//! `POST /api/v1/users/me/revoke-tokens`

use std::sync::Arc;

use axum::{Json, extract::State};

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, OptionalJsonBody},
    revocation::{RevokeTokens, RevokedTokens},
};

/// Log out everywhere
///
/// Revokes the caller's own tokens, the one of this request too unless `before` spares it. Also for a SUSPENDED user.
#[utoipa::path(
    post, path = "/api/v1/users/me/revoke-tokens", tag = "users", operation_id = "revokeMyTokens",
    request_body = Option<RevokeTokens>,
    responses(
        (status = 200, body = RevokedTokens),
        (status = 403, description = "`USER_NOT_ACTIVE`"),
        (status = 422, description = "`VALIDATION_FAILED`"),
    ),
)]
pub(crate) async fn revoke_my_tokens(
    State(app): State<Arc<App>>,
    caller: Caller,
    OptionalJsonBody(wish): OptionalJsonBody<RevokeTokens>,
) -> Result<Json<RevokedTokens>, ApiError> {
    let before = wish.before(&app, caller.token_issued_at)?;
    Ok(Json(app.revoke_tokens(caller.id(), before).await?))
}
