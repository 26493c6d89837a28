//! A channel as one user stands to it.

use chat_domain::{
    ChannelId, ChannelType, Epoch, MemberRole, Timestamp, User, UserId,
    ports::{self, ChannelSummary},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::MessageView;
use crate::schema;

/// A channel as the caller stands to it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Channel)]
pub(crate) struct ChannelView {
    #[schema(value_type = Uuid)]
    channel_id: ChannelId,
    #[serde(rename = "type")]
    #[schema(schema_with = schema::channel_type)]
    channel_type: ChannelType,
    /// Absent for DIRECT channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// Absent for DIRECT channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>, nullable = false)]
    owner_id: Option<UserId>,
    /// False after it was deactivated.
    active: bool,
    /// The incarnation of its log.
    #[schema(value_type = Uuid)]
    epoch: Epoch,
    /// `seq` of the newest event of its log, 0 for none.
    head_seq: u64,
    message_count: u64,
    member_count: u64,
    /// Messages that the caller has not read; 0 for who is no member.
    unread_count: u64,
    /// The caller's role; absent for who is no member.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::member_role)]
    role: Option<MemberRole>,
    /// Newest event that the caller has read; absent for who is no member.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_read_seq: Option<u64>,
    /// The other one in a DIRECT channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    peer: Option<Peer>,
    /// The newest message; in lists only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_message: Option<MessageView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Time of the newest event.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// The other one in a DIRECT channel.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    #[schema(value_type = Uuid)]
    user_id: UserId,
    username: String,
}

impl From<User> for Peer {
    fn from(user: User) -> Self {
        Self { user_id: user.id, username: user.username }
    }
}

impl From<ports::ChannelView> for ChannelView {
    fn from(view: ports::ChannelView) -> Self {
        let unread_count = view.unread_count();
        let ports::ChannelView { channel, member, member_count, peer } = view;
        Self {
            channel_id: channel.id,
            channel_type: channel.channel_type,
            name: channel.details.name,
            description: channel.details.description,
            owner_id: channel.owner_id,
            active: channel.active,
            epoch: channel.epoch,
            head_seq: channel.last_seq,
            message_count: channel.message_count,
            member_count,
            unread_count,
            role: member.as_ref().map(|member| member.role),
            last_read_seq: member.map(|member| member.last_read_seq),
            peer: peer.map(Peer::from),
            last_message: None,
            created_at: channel.created_at,
            updated_at: channel.updated_at,
        }
    }
}

impl From<ChannelSummary> for ChannelView {
    fn from(summary: ChannelSummary) -> Self {
        Self { last_message: summary.last_message.map(MessageView::from), ..summary.view.into() }
    }
}
