//! `DELETE /api/v1/channels/{channelId}`

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use chat_domain::{ChannelId, ledger::Action};

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, Path},
};

/// Deactivate a channel
///
/// For its owner, and for ever. What was said stays readable. Asking again is no error.
#[utoipa::path(
    delete, path = "/api/v1/channels/{channelId}", tag = "channels", operation_id = "deactivateChannel",
    params(("channelId" = Uuid, Path)),
    responses(
        (status = 204, description = "It is deactivated."),
        (status = 403, description = "`USER_NOT_ACTIVE`, `NOT_A_MEMBER`, `ROLE_TOO_LOW`"),
        (status = 404, description = "`CHANNEL_NOT_FOUND`"),
        (status = 422, description = "`DIRECT_IS_FIXED`"),
    ),
)]
pub(crate) async fn close(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(channel_id): Path<ChannelId>,
) -> Result<StatusCode, ApiError> {
    app.append(&caller, Action::Close { channel_id, actor: caller.actor() }).await?;
    Ok(StatusCode::NO_CONTENT)
}
