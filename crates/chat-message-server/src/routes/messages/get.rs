//! `GET /api/v1/messages/{messageId}`

use std::sync::Arc;

use axum::extract::State;
use chat_domain::MessageId;

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, Path},
    views::MessageView,
};

/// Read one message
#[utoipa::path(
    get, path = "/api/v1/messages/{messageId}", tag = "messages", operation_id = "getMessage",
    params(("messageId" = Uuid, Path)),
    responses((status = 200, body = MessageView), (status = 404, description = "`MESSAGE_NOT_FOUND`")),
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<MessageId>,
) -> Result<MessageView, ApiError> {
    let message = app.storage.message(id).await?.ok_or(ApiError::MessageNotFound)?;
    let seen = app.find_channel(&caller, message.channel_id).await?;
    seen.ok_or(ApiError::MessageNotFound)?;
    Ok(message.into())
}
