//! What the servers ask of durable storage.
//!
//! Not found is `Ok(None)`. A rule that says no is a [`Refusal`]. Everything else is a [`StorageError`] that names the
//! operation.

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use crate::{
    Channel, ChannelId, ChannelType, Command, Epoch, Member, MemberRole, Message, MessageId, Refusal, Subject,
    Timestamp, User, UserId, UserStatus,
};

/// All ports of one store.
#[async_trait]
pub trait Storage: ChannelLog + MessageRepository + ChannelRepository + UserRepository {
    /// Can the store be reached?
    async fn ping(&self) -> Result<(), StorageError>;

    /// Gives connections back. Calls that come later fail.
    async fn close(&self);
}

/// The per-channel log: the truth that every subscriber is brought up to.
#[async_trait]
pub trait ChannelLog: Send + Sync {
    /// Carries out a batch of commands of any channels in one transaction, in the given order, and answers each. A
    /// refused command fails alone; a [`StorageError`] means that none of them was carried out, or, when the connection
    /// broke during the commit, that it is not known: a retry with the same client message ids is safe.
    async fn append(&self, commands: &[Command]) -> Result<Vec<Result<Appended, Refusal>>, StorageError>;

    /// The heads of these channels, in one query; unknown ones are left out. Never from a replica.
    async fn heads(&self, channels: &[ChannelId]) -> Result<Vec<Head>, StorageError>;

    /// The events after `after_seq`, in order, at most `limit`. Never from a replica.
    async fn replay(&self, channel: ChannelId, after_seq: u64, limit: u32) -> Result<Vec<LoggedEvent>, StorageError>;

    /// What users may hear of channels, for each of these pairs, in any order and in one query; unknown channels are left
    /// out. Never from a replica.
    async fn access(&self, wishes: &[(UserId, ChannelId)]) -> Result<Vec<(UserId, Access)>, StorageError>;

    /// Gives each channel's log a new epoch and answers how many there are. For a store that was restored from a backup:
    /// what was acknowledged after the backup is gone, and its numbers are given out anew, so who has a place in the old
    /// log must not go on from there. Not one transaction: after an error, some have theirs and some do not.
    async fn renew_epochs(&self) -> Result<u64, StorageError>;
}

/// What came of an accepted command.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The thing as it is now.
    pub subject: Subject,
    /// The event to publish; `None` if the wish had been fulfilled before.
    pub event: Option<LoggedEvent>,
}

/// One entry of a log as it is published and replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its channel.
    pub channel_id: ChannelId,
    /// Its place.
    pub seq: u64,
    /// The JSON that clients receive, UTF-8.
    pub body: Bytes,
}

/// How far a channel's log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The channel.
    pub channel_id: ChannelId,
    /// The incarnation of the log.
    pub epoch: Epoch,
    /// `seq` of the newest event, 0 for an empty log.
    pub head_seq: u64,
    /// `seq` of the oldest event that can still be replayed; `head_seq + 1` if there is none.
    pub oldest_seq: u64,
}

/// What a user may hear of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// How far its log goes.
    pub head: Head,
    /// What kind it is.
    pub channel_type: ChannelType,
    /// False after it was deactivated.
    pub active: bool,
    /// The user's role in it, if it is a member.
    pub role: Option<MemberRole>,
    /// The user's status, if the user is known.
    pub status: Option<UserStatus>,
}

impl Access {
    /// May the user listen: a member, or anyone for PUBLIC, and not banned?
    pub const fn may_listen(&self) -> bool {
        let may_read = match self.status {
            Some(status) => status.may_read(),
            None => true,
        };
        may_read && (self.role.is_some() || matches!(self.channel_type, ChannelType::Public))
    }
}

/// Messages, for reading.
#[async_trait]
pub trait MessageRepository: Send + Sync {
    /// One message.
    async fn message(&self, id: MessageId) -> Result<Option<Message>, StorageError>;

    /// A page of a channel's messages, oldest first.
    async fn history(&self, channel: ChannelId, from: HistoryAnchor, limit: u32) -> Result<HistoryPage, StorageError>;
}

/// Where a page of history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryAnchor {
    /// The newest messages.
    Latest,
    /// Those right before this `seq`.
    Before(u64),
    /// Those right after this `seq`.
    After(u64),
    /// Those on both sides of this `seq`, itself included; the limit is for all of them.
    Around(u64),
}

/// A page of a channel's messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Are there older ones?
    pub has_older: bool,
    /// Are there newer ones?
    pub has_newer: bool,
}

/// Channels and who is in them.
#[async_trait]
pub trait ChannelRepository: Send + Sync {
    /// Makes a channel with its creator and these other members. A DIRECT channel of a pair that has one is not made
    /// again: the one that exists is returned. Members must be known and active.
    async fn create(&self, channel: NewChannel) -> Result<Created, CommandError>;

    /// One channel, with the user's membership in it.
    async fn channel(&self, id: ChannelId, user: UserId) -> Result<Option<ChannelView>, StorageError>;

    /// Channels that a user is in, or that anyone may find, the ones with the newest events first; one more than
    /// `limit` is returned where there are more. Deactivated channels are left out of the public list only.
    async fn channels(
        &self,
        user: UserId,
        scope: ChannelScope,
        after: Option<ChannelCursor>,
        limit: u32,
    ) -> Result<Vec<ChannelSummary>, StorageError>;

    /// Members by user id, those after `after`; one more than `limit` is returned where there are more.
    async fn members(
        &self,
        channel: ChannelId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<MemberView>, StorageError>;
}

/// A channel to be made. Its details were checked before.
#[derive(Clone, Debug)]
pub struct NewChannel {
    /// The channel, with an empty log.
    pub channel: Channel,
    /// Who makes it. Becomes a member.
    pub creator: UserId,
    /// The other members. Exactly one for DIRECT.
    pub others: Vec<UserId>,
}

/// A channel after it was asked to be made.
#[derive(Clone, Debug)]
pub struct Created {
    /// The channel.
    pub channel: Channel,
    /// The creator's membership.
    pub member: Member,
    /// True if this DIRECT channel had been made before.
    pub existed: bool,
}

/// A channel as one user stands to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelView {
    /// The channel.
    pub channel: Channel,
    /// The user's membership, if it has one.
    pub member: Option<Member>,
    /// How many members there are.
    pub member_count: u64,
    /// In a DIRECT channel that the user is in: the other one.
    pub peer: Option<User>,
}

impl ChannelView {
    /// Messages that the member has not read; 0 for others.
    pub fn unread_count(&self) -> u64 {
        let read = self.member.as_ref().map_or(self.channel.message_count, |member| member.last_read_count);
        self.channel.message_count.saturating_sub(read)
    }
}

/// Which channels are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelScope {
    /// Those that the user is in.
    Mine,
    /// Those that anyone may find: active PUBLIC ones.
    Public,
}

/// Place in a channel list, which is sorted by the newest event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelCursor {
    /// [`Channel::updated_at`] of the last channel seen.
    pub updated_at: Timestamp,
    /// Its id.
    pub id: ChannelId,
}

/// A line of a channel list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSummary {
    /// The channel as the user stands to it.
    pub view: ChannelView,
    /// Its newest message.
    pub last_message: Option<Message>,
}

/// A member with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// The membership.
    pub member: Member,
    /// The user's name.
    pub username: String,
}

/// Users.
#[async_trait]
pub trait UserRepository: Send + Sync {
    /// The user with this id, made with this name if there is none yet.
    async fn ensure_user(&self, id: UserId, username: &str, at: Timestamp) -> Result<User, StorageError>;

    /// One user.
    async fn user(&self, id: UserId) -> Result<Option<User>, StorageError>;

    /// Those of these users that are not ACTIVE or had tokens revoked, in one query; unknown users are left out. Never
    /// from a replica.
    async fn restricted(&self, users: &[UserId]) -> Result<Vec<Standing>, StorageError>;

    /// Changes what is `Some`. An empty e-mail address is taken away.
    async fn update_profile(
        &self,
        id: UserId,
        username: Option<&str>,
        email: Option<&str>,
        at: Timestamp,
    ) -> Result<Option<User>, StorageError>;

    /// Sets a user's status, if the present one allows that.
    async fn change_status(&self, id: UserId, to: UserStatus, at: Timestamp) -> Result<User, CommandError>;

    /// Makes all tokens of a user void that were issued before this moment. Answers from when on they hold, which is later
    /// if an earlier call said so: what is void stays void.
    async fn revoke_tokens(&self, id: UserId, before: Timestamp) -> Result<Timestamp, CommandError>;
}

/// What decides whether a session of a user may be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The user.
    pub user_id: UserId,
    /// What it may do.
    pub status: UserStatus,
    /// [`User::tokens_valid_from`].
    pub tokens_valid_from: Option<Timestamp>,
}

/// A store could not do what it was asked, and no rule is the reason.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The store cannot be reached or is overloaded; the same call may work later.
    #[error("storage is unavailable ({operation})")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store answered with an error that a retry will not mend.
    #[error("storage failed ({operation})")]
    Failed {
        /// What was asked.
        operation: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a command was not carried out.
#[derive(Debug, Error)]
pub enum CommandError {
    /// A rule says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store could not do it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
