//! `GET /api/v1/channels/{channelId}/events`

use std::sync::Arc;

use axum::{Json, extract::State};
use chat_domain::{ChannelId, Epoch, Refusal, ports::LoggedEvent};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, Limit, Path, Query},
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventsQuery {
    /// `seq` of the last event that the caller has.
    #[serde(default)]
    #[param(value_type = Option<u64>)]
    after_seq: u64,
    /// Events in the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Limit,
}

/// A part of a channel's log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventPage {
    /// The events as they were published, in order.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Box<RawValue>>,
    /// `seq` of the newest event of the log.
    head_seq: u64,
    /// `seq` of the oldest event that can still be read. If it is more than `afterSeq + 1`, some are gone.
    oldest_seq: u64,
    /// The incarnation of the log.
    #[schema(value_type = Uuid)]
    epoch: Epoch,
    page: EventLinks,
}

/// Is there more?
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventLinks {
    /// Go on with the `seq` of the last item as `afterSeq`.
    has_next: bool,
}

/// Read a channel's log
///
/// For services, and for clients that lost their place. For members, and for anyone where the channel is PUBLIC.
#[utoipa::path(
    get, path = "/api/v1/channels/{channelId}/events", tag = "channels", operation_id = "listEvents",
    params(("channelId" = Uuid, Path), EventsQuery),
    responses((status = 200, body = EventPage), (status = 404, description = "`CHANNEL_NOT_FOUND`")),
)]
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(channel_id): Path<ChannelId>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventPage>, ApiError> {
    let access = app.storage.access(&[(caller.id(), channel_id)]).await?.pop();
    let (_, access) = access.ok_or(Refusal::ChannelNotFound)?;
    if !access.may_listen() && !caller.actor().admin {
        return Err(Refusal::ChannelNotFound.into());
    }

    let limit = query.limit.get();
    // No store counts further; what is beyond is an empty page and not an error.
    let after_seq = query.after_seq.min(i64::MAX.unsigned_abs());
    let mut events = app.storage.replay(channel_id, after_seq, limit + 1).await?;
    // The log may have grown since the head was read.
    let head_seq = events.last().map_or(0, |event| event.seq).max(access.head.head_seq);
    let has_next = events.len() > limit as usize;
    events.truncate(limit as usize);
    Ok(Json(EventPage {
        items: events.iter().map(raw).collect::<Result<_, _>>()?,
        head_seq,
        oldest_seq: access.head.oldest_seq,
        epoch: access.head.epoch,
        page: EventLinks { has_next },
    }))
}

/// The body untouched.
fn raw(event: &LoggedEvent) -> Result<Box<RawValue>, ApiError> {
    serde_json::from_slice(&event.body).map_err(|error| {
        tracing::error!(channel.id = %event.channel_id, event.seq = event.seq, error = %error, "a logged event is not JSON");
        ApiError::Internal
    })
}
