//! `DELETE /api/v1/channels/{channelId}/members/{userId}`

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use chat_domain::{ChannelId, ledger::Action};

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, Path, UserRef},
};

/// Leave a channel, or remove someone
///
/// Moderators and the owner remove who has a lower role. The owner cannot leave. Who is no member is no error.
#[utoipa::path(
    delete, path = "/api/v1/channels/{channelId}/members/{userId}", tag = "members", operation_id = "removeMember",
    params(("channelId" = Uuid, Path), ("userId" = String, Path, description = "A user id, or `me`.")),
    responses(
        (status = 204, description = "The user is no member."),
        (status = 403, description = "`USER_NOT_ACTIVE`, `NOT_A_MEMBER`, `ROLE_TOO_LOW`"),
        (status = 404, description = "`CHANNEL_NOT_FOUND`"),
        (status = 422, description = "`CHANNEL_INACTIVE`, `DIRECT_IS_FIXED`, `OWNER_CANNOT_LEAVE`"),
    ),
)]
pub(crate) async fn remove_member(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((channel_id, user)): Path<(ChannelId, UserRef)>,
) -> Result<StatusCode, ApiError> {
    let user_id = user.resolve(caller.id());
    app.append(&caller, Action::RemoveMember { channel_id, actor: caller.actor(), user_id }).await?;
    Ok(StatusCode::NO_CONTENT)
}
