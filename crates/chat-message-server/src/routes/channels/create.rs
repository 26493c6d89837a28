//! `POST /api/v1/channels`

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chat_domain::{
    Channel, ChannelDetails, ChannelId, ChannelType, UserId, Violation, limits,
    ports::{Created, NewChannel},
};
use chat_events::UserSignal;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    error::ApiError,
    extract::{Caller, JsonBody},
    routes::location,
    schema,
    views::ChannelView,
};

/// A channel to make.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateChannel {
    #[serde(rename = "type")]
    #[schema(schema_with = schema::channel_type)]
    channel_type: ChannelType,
    /// Needed for all but DIRECT channels, which have none.
    #[schema(max_length = 100)]
    name: Option<String>,
    #[schema(max_length = 500)]
    description: Option<String>,
    /// The other members; exactly one for DIRECT.
    #[serde(default)]
    #[schema(value_type = Vec<Uuid>, max_items = 200)]
    member_ids: Vec<UserId>,
}

/// Make a channel
///
/// The DIRECT channel of a pair is made once; asking again answers the one that exists.
#[utoipa::path(
    post, path = "/api/v1/channels", tag = "channels", operation_id = "createChannel",
    request_body = CreateChannel,
    responses(
        (status = 201, body = ChannelView, headers(("Location" = String, description = "Path of the channel."))),
        (status = 200, body = ChannelView, description = "The DIRECT channel existed.",
            headers(("Location" = String, description = "Path of the channel."))),
        (status = 404, description = "`USER_NOT_FOUND`"),
        (status = 422, description = "`VALIDATION_FAILED`, `TARGET_NOT_ACTIVE`"),
    ),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateChannel>,
) -> Result<Response, ApiError> {
    caller.may_write()?;
    let CreateChannel { channel_type, name, description, member_ids } = body;
    let description = description.filter(|text| !text.is_empty());
    let details = ChannelDetails { name, description };
    let others = others(caller.id(), member_ids);
    let mut violations = details.check(channel_type);
    violations.extend(check_members(channel_type, &others));
    ApiError::check(violations)?;

    let now = app.clock.now();
    let channel = Channel::new(ChannelId::new(now), channel_type, details, caller.id(), now);
    let new = NewChannel { channel, creator: caller.id(), others };
    let created = app.to_the_end(make(app.clone(), new)).await?;
    let channel_id = created.channel.id;

    let view = app.channel(&caller, channel_id).await?;
    let status = if created.existed { StatusCode::OK } else { StatusCode::CREATED };
    let location = location(format_args!("/api/v1/channels/{channel_id}"));
    Ok((status, location, Json(ChannelView::from(view))).into_response())
}

async fn make(app: Arc<App>, new: NewChannel) -> Result<Created, ApiError> {
    let members: Vec<_> = std::iter::once(new.creator).chain(new.others.iter().copied()).collect();
    let created = app.storage.create(new).await?;
    if !created.existed {
        for user_id in members {
            app.outbox.signal(&UserSignal::ChannelAdded { user_id, channel_id: created.channel.id });
        }
    }
    Ok(created)
}

/// Each of the other members once.
fn others(creator: UserId, mut member_ids: Vec<UserId>) -> Vec<UserId> {
    member_ids.sort_unstable();
    member_ids.dedup();
    member_ids.retain(|id| *id != creator);
    member_ids
}

fn check_members(channel_type: ChannelType, others: &[UserId]) -> Option<Violation> {
    if channel_type == ChannelType::Direct && others.len() != 1 {
        return Some(Violation::new("memberIds", "must be exactly one other user in a DIRECT channel"));
    }
    if others.len() >= limits::INITIAL_MEMBERS {
        let most = limits::INITIAL_MEMBERS - 1;
        return Some(Violation::new("memberIds", format!("must be at most {most} other users")));
    }
    None
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn user(number: u128) -> UserId {
        UserId::from(Uuid::from_u128(number))
    }

    #[test]
    fn members_are_counted_once_and_without_the_creator() {
        assert_eq!(others(user(1), vec![user(3), user(1), user(2), user(3)]), [user(2), user(3)]);
    }

    #[test]
    fn a_direct_channel_is_for_two() {
        assert!(check_members(ChannelType::Direct, &[user(2)]).is_none());
        assert!(check_members(ChannelType::Direct, &[]).is_some());
        assert!(check_members(ChannelType::Direct, &[user(2), user(3)]).is_some());
        assert!(check_members(ChannelType::Group, &[]).is_none());
    }

    #[test]
    fn a_channel_does_not_begin_larger_than_allowed() {
        let many: Vec<_> = (0..limits::INITIAL_MEMBERS as u128).map(user).collect();
        assert!(check_members(ChannelType::Group, &many).is_some());
        assert!(check_members(ChannelType::Group, &many[1..]).is_none());
    }
}
