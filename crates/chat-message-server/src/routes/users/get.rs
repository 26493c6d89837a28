//! `GET /api/v1/users/{userId}`

use std::sync::Arc;

use axum::{Json, extract::State};
use chat_domain::{Refusal, UserId};

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, Path},
    views::PublicUser,
};

/// Read a user
#[utoipa::path(
    get, path = "/api/v1/users/{userId}", tag = "users", operation_id = "getUser",
    params(("userId" = Uuid, Path)),
    responses((status = 200, body = PublicUser), (status = 404, description = "`USER_NOT_FOUND`")),
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    _caller: Caller,
    Path(id): Path<UserId>,
) -> Result<Json<PublicUser>, ApiError> {
    let user = app.storage.user(id).await?.ok_or(Refusal::UserNotFound(id))?;
    Ok(Json(user.into()))
}
