//! `GET /api/v1/channels`

use std::sync::Arc;

use axum::{Json, extract::State};
use chat_domain::ports::{ChannelCursor, ChannelScope, ChannelSummary};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    cursor::Cursor,
    error::ApiError,
    extract::{Caller, Limit, Query},
    views::{ChannelView, Page},
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Which channels.
    #[serde(default)]
    #[param(inline)]
    scope: Scope,
    /// Channels in the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Limit,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Scope {
    /// Those that the caller is in.
    #[default]
    Mine,
    /// Active PUBLIC ones.
    Public,
}

impl From<Scope> for ChannelScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Mine => Self::Mine,
            Scope::Public => Self::Public,
        }
    }
}

/// List channels
///
/// `mine` are those that the caller is in, `public` the active PUBLIC ones. The newest event first.
#[utoipa::path(
    get, path = "/api/v1/channels", tag = "channels", operation_id = "listChannels",
    params(ListQuery),
    responses((status = 200, body = Page<ChannelView>)),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<ChannelView>>, ApiError> {
    let after = query.cursor.as_deref().map(ChannelCursor::decode).transpose()?;
    let limit = query.limit.get();
    let rows = app.storage.channels(caller.id(), query.scope.into(), after, limit).await?;
    let place =
        |row: &ChannelSummary| ChannelCursor { updated_at: row.view.channel.updated_at, id: row.view.channel.id };
    Ok(Json(Page::forward(rows, limit, place)))
}
