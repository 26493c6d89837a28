//! `GET /api/v1/channels/{channelId}/messages`

use std::sync::Arc;

use axum::{Json, extract::State};
use chat_domain::{
    ChannelId, MessageId,
    ports::{HistoryAnchor, HistoryPage},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    app::App,
    cursor::{Cursor, HistoryCursor},
    error::ApiError,
    extract::{Caller, Limit, Path, Query},
    views::{MessageView, Page, PageLinks},
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// Messages in the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Limit,
    /// `prev` of a page: the messages before it.
    before: Option<String>,
    /// `next` of a page: the messages after it.
    after: Option<String>,
    /// A message: it and those on both sides of it.
    #[param(value_type = Option<Uuid>)]
    around: Option<MessageId>,
}

/// Page through the messages of a channel
///
/// Oldest first; without a parameter the newest ones. At most one of `before`, `after` and `around`.
#[utoipa::path(
    get, path = "/api/v1/channels/{channelId}/messages", tag = "messages", operation_id = "listMessages",
    params(("channelId" = Uuid, Path), HistoryQuery),
    responses(
        (status = 200, body = Page<MessageView>),
        (status = 404, description = "`CHANNEL_NOT_FOUND`, `MESSAGE_NOT_FOUND`"),
    ),
)]
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(channel_id): Path<ChannelId>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<Page<MessageView>>, ApiError> {
    app.channel(&caller, channel_id).await?;
    let anchor = match (query.before, query.after, query.around) {
        (None, None, None) => HistoryAnchor::Latest,
        (Some(cursor), None, None) => HistoryAnchor::Before(HistoryCursor::decode(&cursor)?.0),
        (None, Some(cursor), None) => HistoryAnchor::After(HistoryCursor::decode(&cursor)?.0),
        (None, None, Some(id)) => around(&app, channel_id, id).await?,
        _ => return Err(ApiError::parameter("query", "before, after and around exclude each other")),
    };

    let page = app.storage.history(channel_id, anchor, query.limit.get()).await?;
    let links = links(anchor, &page);
    Ok(Json(Page { items: page.messages.into_iter().map(MessageView::from).collect(), page: links }))
}

async fn around(app: &App, channel_id: ChannelId, id: MessageId) -> Result<HistoryAnchor, ApiError> {
    let message = app.storage.message(id).await?.filter(|message| message.channel_id == channel_id);
    message.map(|message| HistoryAnchor::Around(message.seq)).ok_or(ApiError::MessageNotFound)
}

/// Cursors at both ends of the page. An empty page has the place that it was asked for instead.
fn links(anchor: HistoryAnchor, page: &HistoryPage) -> PageLinks {
    let (first, last) = match (page.messages.first(), page.messages.last(), anchor) {
        (Some(first), Some(last), _) => (first.seq, last.seq),
        (_, _, HistoryAnchor::Before(seq)) => (seq, seq.saturating_sub(1)),
        (_, _, HistoryAnchor::After(seq)) => (seq.saturating_add(1), seq),
        (_, _, HistoryAnchor::Latest | HistoryAnchor::Around(_)) => return PageLinks::default(),
    };
    let prev = page.has_older.then_some(HistoryCursor(first));
    let next = page.has_newer.then_some(HistoryCursor(last));
    PageLinks::new(prev, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_page_can_be_left_in_both_directions() {
        let page = |has_older, has_newer| HistoryPage { messages: Vec::new(), has_older, has_newer };
        let cursor = |seq| Some(HistoryCursor(seq));

        let behind_the_end = links(HistoryAnchor::After(7), &page(true, false));
        assert_eq!(behind_the_end, PageLinks::new(cursor(8), None));
        let before_the_start = links(HistoryAnchor::Before(1), &page(false, true));
        assert_eq!(before_the_start, PageLinks::new(None, cursor(0)));
        assert_eq!(links(HistoryAnchor::Latest, &page(false, false)), PageLinks::default());
    }
}
