//! `POST /api/v1/channels/{channelId}/members`

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chat_domain::{ChannelId, Subject, UserId, ledger::Action};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, OptionalJsonBody, Path},
    views::MemberView,
};

/// Who is to come in.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddMember {
    /// The caller itself, if absent.
    #[schema(value_type = Option<Uuid>)]
    user_id: Option<UserId>,
}

/// Join a channel, or add someone
///
/// Anyone joins a PUBLIC channel; members add others to GROUP and PUBLIC ones, moderators and the owner to PRIVATE ones.
#[utoipa::path(
    post, path = "/api/v1/channels/{channelId}/members", tag = "members", operation_id = "addMember",
    params(("channelId" = Uuid, Path)),
    request_body = Option<AddMember>,
    responses(
        (status = 201, body = MemberView),
        (status = 200, body = MemberView, description = "The user was a member before."),
        (status = 403, description = "`USER_NOT_ACTIVE`, `NOT_A_MEMBER`, `ROLE_TOO_LOW`"),
        (status = 404, description = "`CHANNEL_NOT_FOUND`, `USER_NOT_FOUND`"),
        (status = 422, description = "`CHANNEL_INACTIVE`, `TARGET_NOT_ACTIVE`, `DIRECT_IS_FIXED`"),
    ),
)]
pub(crate) async fn add_member(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(channel_id): Path<ChannelId>,
    OptionalJsonBody(body): OptionalJsonBody<AddMember>,
) -> Result<Response, ApiError> {
    let user_id = body.user_id.unwrap_or(caller.id());
    let appended = app.append(&caller, Action::AddMember { channel_id, actor: caller.actor(), user_id }).await?;
    let Subject::Member(member) = appended.subject else { return Err(ApiError::Internal) };

    let user = app.storage.user(user_id).await?.ok_or(ApiError::Internal)?;
    let status = if appended.event.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(MemberView::new(&member, user.username))).into_response())
}
