//! `GET /api/v1/users/me`

use axum::Json;
use chat_domain::User;

use crate::{extract::Caller, views::Profile};

/// Read the caller's own profile
#[utoipa::path(
    get, path = "/api/v1/users/me", tag = "users", operation_id = "getMe",
    responses((status = 200, body = Profile)),
)]
pub(crate) async fn me(caller: Caller) -> Json<Profile> {
    Json(User::clone(&caller.user).into())
}
