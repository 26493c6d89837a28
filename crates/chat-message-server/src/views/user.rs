//! A user, as much of it as the reader may know.

use chat_domain::{Timestamp, User, UserId, UserStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::schema;

/// A user as it sees itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    #[serde(flatten)]
    user: ManagedUser,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    email: Option<String>,
}

/// A user as administrators see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ManagedUser {
    #[serde(flatten)]
    user: PublicUser,
    #[schema(schema_with = schema::user_status)]
    status: UserStatus,
    /// Last change of the profile or the status.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A user as others see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub(crate) struct PublicUser {
    #[schema(value_type = Uuid)]
    user_id: UserId,
    username: String,
    /// First authenticated request.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<User> for Profile {
    fn from(mut user: User) -> Self {
        let email = user.email.take();
        Self { user: user.into(), email }
    }
}

impl From<User> for ManagedUser {
    fn from(user: User) -> Self {
        let (status, updated_at) = (user.status, user.updated_at);
        Self { user: user.into(), status, updated_at }
    }
}

impl From<User> for PublicUser {
    fn from(user: User) -> Self {
        Self { user_id: user.id, username: user.username, created_at: user.created_at }
    }
}
