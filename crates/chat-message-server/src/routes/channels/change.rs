//! `PATCH /api/v1/channels/{channelId}`

use std::sync::Arc;

use axum::{Json, extract::State};
use chat_domain::{ChannelDetails, ChannelId, ledger::Action};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, JsonBody, Path, nullable},
    views::ChannelView,
};

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ChangeChannel {
    #[schema(max_length = 100, nullable = false)]
    name: Option<String>,
    /// `null` or an empty text takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 500)]
    description: Option<Option<String>>,
}

/// Change name or description
///
/// For moderators and the owner.
#[utoipa::path(
    patch, path = "/api/v1/channels/{channelId}", tag = "channels", operation_id = "changeChannel",
    params(("channelId" = Uuid, Path)),
    request_body = ChangeChannel,
    responses(
        (status = 200, body = ChannelView),
        (status = 403, description = "`USER_NOT_ACTIVE`, `NOT_A_MEMBER`, `ROLE_TOO_LOW`"),
        (status = 404, description = "`CHANNEL_NOT_FOUND`"),
        (status = 422, description = "`VALIDATION_FAILED`, `CHANNEL_INACTIVE`, `DIRECT_IS_FIXED`"),
    ),
)]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(channel_id): Path<ChannelId>,
    JsonBody(ChangeChannel { name, description }): JsonBody<ChangeChannel>,
) -> Result<Json<ChannelView>, ApiError> {
    let description = description.map(Option::unwrap_or_default);
    ApiError::check(ChannelDetails::check_change(name.as_deref(), description.as_deref()))?;
    let action = Action::ChangeDetails { channel_id, actor: caller.actor(), name, description };
    app.append(&caller, action).await?;
    Ok(Json(app.channel(&caller, channel_id).await?.into()))
}
