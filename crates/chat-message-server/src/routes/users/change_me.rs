//! `PATCH /api/v1/users/me`

use std::sync::Arc;

use axum::{Json, extract::State};
use chat_domain::{
    Refusal,
    user::{check_email, check_username},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, JsonBody, nullable},
    views::Profile,
};

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ChangeProfile {
    #[schema(max_length = 100, nullable = false)]
    username: Option<String>,
    /// `null` or an empty text takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 254)]
    email: Option<Option<String>>,
}

/// Change the caller's own profile
#[utoipa::path(
    patch, path = "/api/v1/users/me", tag = "users", operation_id = "changeMe",
    request_body = ChangeProfile,
    responses(
        (status = 200, body = Profile),
        (status = 403, description = "`USER_NOT_ACTIVE`"),
        (status = 422, description = "`VALIDATION_FAILED`"),
    ),
)]
pub(crate) async fn change_me(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(ChangeProfile { username, email }): JsonBody<ChangeProfile>,
) -> Result<Json<Profile>, ApiError> {
    caller.may_write()?;
    let email = email.map(Option::unwrap_or_default);
    let broken = [
        username.as_deref().and_then(|name| check_username(name).err()),
        email.as_deref().filter(|email| !email.is_empty()).and_then(|email| check_email(email).err()),
    ];
    ApiError::check(broken.into_iter().flatten().collect())?;

    let now = app.clock.now();
    let changed = app.storage.update_profile(caller.id(), username.as_deref(), email.as_deref(), now).await?;
    app.accounts.forget(caller.id());
    let user = changed.ok_or(Refusal::UserNotFound(caller.id()))?;
    Ok(Json(user.into()))
}
