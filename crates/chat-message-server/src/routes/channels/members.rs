//! `GET /api/v1/channels/{channelId}/members`

use std::sync::Arc;

use axum::{Json, extract::State};
use chat_domain::{ChannelId, UserId, ports};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    app::App,
    cursor::Cursor,
    error::ApiError,
    extract::{Caller, Limit, Path, Query},
    views::{MemberView, Page},
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MembersQuery {
    /// Members in the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Limit,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// List the members of a channel
#[utoipa::path(
    get, path = "/api/v1/channels/{channelId}/members", tag = "members", operation_id = "listMembers",
    params(("channelId" = Uuid, Path), MembersQuery),
    responses((status = 200, body = Page<MemberView>), (status = 404, description = "`CHANNEL_NOT_FOUND`")),
)]
pub(crate) async fn members(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(channel_id): Path<ChannelId>,
    Query(query): Query<MembersQuery>,
) -> Result<Json<Page<MemberView>>, ApiError> {
    let after = query.cursor.as_deref().map(UserId::decode).transpose()?;
    app.channel(&caller, channel_id).await?;
    let limit = query.limit.get();
    let rows = app.storage.members(channel_id, after, limit).await?;
    Ok(Json(Page::forward(rows, limit, |row: &ports::MemberView| row.member.user_id)))
}
