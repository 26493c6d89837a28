//! A member of a channel.

use chat_domain::{Member, MemberRole, Timestamp, UserId, ports};
use serde::Serialize;
use utoipa::ToSchema;

use crate::schema;

/// A member of a channel.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Member)]
pub(crate) struct MemberView {
    #[schema(value_type = Uuid)]
    user_id: UserId,
    username: String,
    #[schema(schema_with = schema::member_role)]
    role: MemberRole,
    #[schema(value_type = String, format = DateTime)]
    joined_at: Timestamp,
}

impl MemberView {
    /// The member, by this name.
    pub(crate) fn new(member: &Member, username: String) -> Self {
        Self { user_id: member.user_id, username, role: member.role, joined_at: member.joined_at }
    }
}

impl From<ports::MemberView> for MemberView {
    fn from(view: ports::MemberView) -> Self {
        Self::new(&view.member, view.username)
    }
}
