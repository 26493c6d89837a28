//! Every "no" that a rule can say.
//!
//! A [`Violation`] is about the form of one field and can be found without looking anything up. A [`Refusal`] is about
//! the state of the world: it is decided inside the transaction that would have made the change. Failures of machinery
//! are neither: see [`crate::ports::StorageError`].

use thiserror::Error;

use crate::{UserId, UserStatus};

/// One field breaks a rule of its own.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} {rule}")]
pub struct Violation {
    /// Path of the field in the request, with dots: `payload.text`.
    pub field: &'static str,
    /// What the field must be, to be read after its name: "must not be blank".
    pub rule: String,
}

impl Violation {
    /// The field at `field` does not follow `rule`.
    pub fn new(field: &'static str, rule: impl Into<String>) -> Self {
        Self { field, rule: rule.into() }
    }
}

/// A command that the present state does not allow. [`Refusal::code`] is stable; the text may change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No such channel, or one that the caller may not know of.
    #[error("there is no such channel")]
    ChannelNotFound,
    /// The channel was deactivated.
    #[error("the channel is no longer active")]
    ChannelInactive,
    /// Only members may do this.
    #[error("you are not a member of this channel")]
    NotAMember,
    /// The acting user may not write at present.
    #[error("your account is {0}")]
    UserNotActive(UserStatus),
    /// A user named in the command does not exist.
    #[error("there is no user {0}")]
    UserNotFound(UserId),
    /// A user named in the command cannot be brought into a channel at present.
    #[error("user {0} is not active")]
    TargetNotActive(UserId),
    /// The message to reply to is not in this channel.
    #[error("the message to reply to is not in this channel")]
    ReplyTargetNotFound,
    /// The id was used for a message with another channel or content.
    #[error("this clientMessageId was used for a different message")]
    ClientMessageIdReused,
    /// The member's role does not allow this.
    #[error("your role in this channel does not allow this")]
    RoleTooLow,
    /// A DIRECT channel has its two members and no name, for ever.
    #[error("a DIRECT channel cannot be changed")]
    DirectIsFixed,
    /// The owner would leave the channel without one.
    #[error("the owner cannot leave the channel; deactivate it instead")]
    OwnerCannotLeave,
    /// The user's status cannot change this way.
    #[error("a user that is {from} cannot become {to}")]
    StatusTransition {
        /// The present status.
        from: UserStatus,
        /// The one asked for.
        to: UserStatus,
    },
}

impl Refusal {
    /// The stable, documented name of this refusal.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ChannelNotFound => "CHANNEL_NOT_FOUND",
            Self::ChannelInactive => "CHANNEL_INACTIVE",
            Self::NotAMember => "NOT_A_MEMBER",
            Self::UserNotActive(_) => "USER_NOT_ACTIVE",
            Self::UserNotFound(_) => "USER_NOT_FOUND",
            Self::TargetNotActive(_) => "TARGET_NOT_ACTIVE",
            Self::ReplyTargetNotFound => "REPLY_TARGET_NOT_FOUND",
            Self::ClientMessageIdReused => "CLIENT_MESSAGE_ID_REUSED",
            Self::RoleTooLow => "ROLE_TOO_LOW",
            Self::DirectIsFixed => "DIRECT_IS_FIXED",
            Self::OwnerCannotLeave => "OWNER_CANNOT_LEAVE",
            Self::StatusTransition { .. } => "STATUS_TRANSITION",
        }
    }
}
