//! `PATCH /api/v1/admin/users/{userId}`

use std::sync::Arc;

use axum::{Json, extract::State};
use chat_domain::{UserId, UserStatus};
use chat_events::UserSignal;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, JsonBody, Path},
    schema,
    views::ManagedUser,
};

/// The status to set.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ChangeUser {
    #[schema(schema_with = schema::user_status)]
    status: UserStatus,
}

/// Set a user's status
///
/// For the role ADMIN. The user's sessions hear of it at once.
#[utoipa::path(
    patch, path = "/api/v1/admin/users/{userId}", tag = "admin", operation_id = "changeUser",
    params(("userId" = Uuid, Path)),
    request_body = ChangeUser,
    responses(
        (status = 200, body = ManagedUser),
        (status = 403, description = "`FORBIDDEN`, `USER_NOT_ACTIVE`"),
        (status = 404, description = "`USER_NOT_FOUND`"),
        (status = 409, description = "`STATUS_TRANSITION`"),
    ),
)]
pub(crate) async fn change_user(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<UserId>,
    JsonBody(ChangeUser { status }): JsonBody<ChangeUser>,
) -> Result<Json<ManagedUser>, ApiError> {
    caller.must_be_admin()?;
    caller.may_write()?;
    let work = {
        let app = app.clone();
        async move {
            let changed = app.storage.change_status(id, status, app.clock.now()).await;
            // Also after a failure: it may have been done.
            app.accounts.forget(id);
            let user = changed?;
            app.outbox.signal(&UserSignal::UserStatusChanged { user_id: id, status: user.status });
            Ok(user)
        }
    };
    Ok(Json(app.to_the_end(work).await?.into()))
}
