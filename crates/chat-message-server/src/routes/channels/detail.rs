//! `GET /api/v1/channels/{channelId}`

use std::sync::Arc;

use axum::{Json, extract::State};
use chat_domain::ChannelId;

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, Path},
    views::ChannelView,
};

/// Read one channel
#[utoipa::path(
    get, path = "/api/v1/channels/{channelId}", tag = "channels", operation_id = "getChannel",
    params(("channelId" = Uuid, Path)),
    responses((status = 200, body = ChannelView), (status = 404, description = "`CHANNEL_NOT_FOUND`")),
)]
pub(crate) async fn detail(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(channel_id): Path<ChannelId>,
) -> Result<Json<ChannelView>, ApiError> {
    Ok(Json(app.channel(&caller, channel_id).await?.into()))
}
