//! What a command does to the state of a channel.
//!
//! A store loads what a batch of commands touches ([`Needs`]), applies the commands one after the other to a [`Ledger`],
//! and writes what changed in one transaction, in which the channels are locked and are as they were loaded. Every adapter
//! shares this code, so a rule means the same on each, and a refused command leaves no trace and takes no sequence number.

use std::collections::{BTreeSet, HashMap};

use crate::{
    Actor, Channel, ChannelDetails, ChannelId, ClientMessageId, EventId, Member, MemberRole, Message, MessageContent,
    MessageId, MessageStatus, Refusal, Timestamp, UserId, UserStatus,
};

/// One wish to change a channel, with everything that must not be made up inside the transaction.
#[derive(Clone, Debug)]
pub struct Command {
    /// Id of the event that this becomes.
    pub event_id: EventId,
    /// When the message server took it.
    pub at: Timestamp,
    /// The request's trace, carried in the event.
    pub trace_id: Option<String>,
    /// Where spans of the event hang, carried in it too; `None` unless the request is traced.
    pub traceparent: Option<String>,
    /// What is wished.
    pub action: Action,
}

/// What a command wishes to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send a message.
    Send(NewMessage),
    /// Bring a user in; joining is adding oneself.
    AddMember {
        /// Where.
        channel_id: ChannelId,
        /// Who wishes it.
        actor: Actor,
        /// Who comes in.
        user_id: UserId,
    },
    /// Take a user out; leaving is removing oneself.
    RemoveMember {
        /// Where.
        channel_id: ChannelId,
        /// Who wishes it.
        actor: Actor,
        /// Who goes.
        user_id: UserId,
    },
    /// Change name or description; what is `None` stays. An empty description is taken away.
    ChangeDetails {
        /// Where.
        channel_id: ChannelId,
        /// Who wishes it.
        actor: Actor,
        /// The new name.
        name: Option<String>,
        /// The new description.
        description: Option<String>,
    },
    /// Deactivate the channel.
    Close {
        /// Where.
        channel_id: ChannelId,
        /// Who wishes it.
        actor: Actor,
    },
}

/// A message that is to be sent. Its content was checked before.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// The id it will have.
    pub id: MessageId,
    /// Where to.
    pub channel_id: ChannelId,
    /// From whom.
    pub sender_id: UserId,
    /// What.
    pub content: MessageContent,
    /// The sender's own id, which makes a retry safe.
    pub client_message_id: Option<ClientMessageId>,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
}

impl Action {
    /// The channel that the action is about.
    pub const fn channel_id(&self) -> ChannelId {
        match self {
            Self::Send(message) => message.channel_id,
            Self::AddMember { channel_id, .. }
            | Self::RemoveMember { channel_id, .. }
            | Self::ChangeDetails { channel_id, .. }
            | Self::Close { channel_id, .. } => *channel_id,
        }
    }
}

/// What came of a command that was not refused.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The thing as it is now.
    pub subject: Subject,
    /// What happened, or `None` if the wish had been fulfilled before: a repeated send, a join of a member.
    pub entry: Option<Entry>,
}

/// The thing that a command was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The message, new or repeated.
    Message(Message),
    /// The membership, new or old.
    Member(Member),
    /// The channel.
    Channel(Channel),
}

/// A new entry of a channel's log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id.
    pub event_id: EventId,
    /// Its channel.
    pub channel_id: ChannelId,
    /// Its place in the log.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The request's trace.
    pub trace_id: Option<String>,
    /// Where spans of the event hang.
    pub traceparent: Option<String>,
    /// What happened.
    pub change: Change,
}

/// What happened to a channel.
#[derive(Clone, Debug)]
pub enum Change {
    /// A message was sent.
    MessageSent(Message),
    /// A user came in, brought by someone or on its own.
    MemberJoined {
        /// The new membership.
        member: Member,
        /// Who brought it in; itself when it joined.
        added_by: UserId,
    },
    /// A user went, or was made to.
    MemberLeft {
        /// Who went.
        user_id: UserId,
        /// Who made it go; itself when it left.
        removed_by: UserId,
    },
    /// Name or description changed.
    ChannelUpdated(ChannelDetails),
    /// The channel was deactivated.
    ChannelClosed,
}

/// What must be loaded before a batch can be applied. The sets are ordered: channels are locked in this order, which is
/// what keeps several writers from waiting for each other in a circle.
#[derive(Debug, Default)]
pub struct Needs {
    /// Channels, to be locked.
    pub channels: BTreeSet<ChannelId>,
    /// Memberships, and so the users: each of these channels and of these users is in one at least.
    pub members: BTreeSet<(ChannelId, UserId)>,
    /// Messages by their senders' own ids.
    pub client_message_ids: BTreeSet<(UserId, ClientMessageId)>,
    /// Messages that are answered.
    pub reply_targets: BTreeSet<MessageId>,
}

impl Needs {
    /// What these commands touch.
    pub fn of(commands: &[Command]) -> Self {
        let mut needs = Self::default();
        for command in commands {
            needs.add(&command.action);
        }
        needs
    }

    fn add(&mut self, action: &Action) {
        let channel_id = action.channel_id();
        self.channels.insert(channel_id);
        match action {
            Action::Send(message) => {
                self.members.insert((channel_id, message.sender_id));
                self.client_message_ids.extend(message.client_message_id.clone().map(|id| (message.sender_id, id)));
                self.reply_targets.extend(message.reply_to);
            }
            Action::AddMember { actor, user_id, .. } | Action::RemoveMember { actor, user_id, .. } => {
                self.members.extend([(channel_id, actor.user_id), (channel_id, *user_id)]);
            }
            Action::ChangeDetails { actor, .. } | Action::Close { actor, .. } => {
                self.members.insert((channel_id, actor.user_id));
            }
        }
    }
}

/// The loaded state that a batch is applied to.
#[derive(Debug, Default)]
pub struct Ledger {
    channels: HashMap<ChannelId, Channel>,
    members: HashMap<(ChannelId, UserId), Member>,
    users: HashMap<UserId, UserStatus>,
    sent: HashMap<(UserId, ClientMessageId), Message>,
    reply_targets: HashMap<MessageId, ChannelId>,
    changed_channels: BTreeSet<ChannelId>,
    changed_members: BTreeSet<(ChannelId, UserId)>,
}

impl Ledger {
    /// A ledger of what was loaded. What is absent does not exist.
    pub fn new(
        channels: impl IntoIterator<Item = Channel>,
        members: impl IntoIterator<Item = Member>,
        users: impl IntoIterator<Item = (UserId, UserStatus)>,
        sent: impl IntoIterator<Item = Message>,
        reply_targets: impl IntoIterator<Item = (MessageId, ChannelId)>,
    ) -> Self {
        let sent_key =
            |message: Message| message.client_message_id.clone().map(|id| ((message.sender_id, id), message));
        Self {
            channels: channels.into_iter().map(|channel| (channel.id, channel)).collect(),
            members: members.into_iter().map(|member| ((member.channel_id, member.user_id), member)).collect(),
            users: users.into_iter().collect(),
            sent: sent.into_iter().filter_map(sent_key).collect(),
            reply_targets: reply_targets.into_iter().collect(),
            changed_channels: BTreeSet::new(),
            changed_members: BTreeSet::new(),
        }
    }

    /// Carries out one command, or says why not.
    pub fn apply(&mut self, command: Command) -> Result<Applied, Refusal> {
        let Command { event_id, at, trace_id, traceparent, action } = command;
        let channel_id = action.channel_id();
        let (subject, change) = match action {
            Action::Send(message) => self.send(message, at)?,
            Action::AddMember { actor, user_id, .. } => self.add_member(channel_id, actor, user_id, at)?,
            Action::RemoveMember { actor, user_id, .. } => self.remove_member(channel_id, actor, user_id, at)?,
            Action::ChangeDetails { actor, name, description, .. } => {
                self.change_details(channel_id, actor, name, description, at)?
            }
            Action::Close { actor, .. } => self.close(channel_id, actor, at)?,
        };
        let seq = self.channels.get(&channel_id).map_or(0, |channel| channel.last_seq);
        let entry = change.map(|change| Entry { event_id, channel_id, seq, at, trace_id, traceparent, change });
        Ok(Applied { subject, entry })
    }

    /// The channels that the commands changed, as they are now.
    pub fn changed_channels(&self) -> impl Iterator<Item = &Channel> {
        self.changed_channels.iter().filter_map(|id| self.channels.get(id))
    }

    /// The memberships that the commands changed, as they are now; `None` where there is none any more.
    pub fn changed_members(&self) -> impl Iterator<Item = ((ChannelId, UserId), Option<&Member>)> {
        self.changed_members.iter().map(|key| (*key, self.members.get(key)))
    }

    fn send(&mut self, new: NewMessage, at: Timestamp) -> Result<(Subject, Option<Change>), Refusal> {
        if let Some(earlier) = self.sent_before(&new)? {
            return Ok((Subject::Message(earlier), None));
        }
        self.may_write(new.sender_id)?;
        let role = self.role(new.channel_id, new.sender_id);
        self.channel(new.channel_id)?.may_send(role)?;
        if new.reply_to.is_some_and(|id| self.reply_targets.get(&id) != Some(&new.channel_id)) {
            return Err(Refusal::ReplyTargetNotFound);
        }

        let (seq, count) = self.advance(new.channel_id, at, 1)?;
        let message = Message {
            id: new.id,
            channel_id: new.channel_id,
            seq,
            sender_id: new.sender_id,
            client_message_id: new.client_message_id,
            content: new.content,
            status: MessageStatus::Sent,
            reply_to: new.reply_to,
            sent_at: at,
        };
        if let Some(id) = message.client_message_id.clone() {
            self.sent.insert((message.sender_id, id), message.clone());
        }
        self.reply_targets.insert(message.id, message.channel_id);
        self.mark_read(message.channel_id, message.sender_id, seq, count);
        Ok((Subject::Message(message.clone()), Some(Change::MessageSent(message))))
    }

    /// The message that was sent under this client id. A retry is safe for ever, whatever became of the sender's rights.
    fn sent_before(&self, new: &NewMessage) -> Result<Option<Message>, Refusal> {
        let Some(id) = new.client_message_id.clone() else { return Ok(None) };
        let Some(earlier) = self.sent.get(&(new.sender_id, id)) else { return Ok(None) };
        let same =
            earlier.channel_id == new.channel_id && earlier.content == new.content && earlier.reply_to == new.reply_to;
        if !same {
            return Err(Refusal::ClientMessageIdReused);
        }
        Ok(Some(earlier.clone()))
    }

    fn add_member(
        &mut self,
        channel_id: ChannelId,
        actor: Actor,
        user_id: UserId,
        at: Timestamp,
    ) -> Result<(Subject, Option<Change>), Refusal> {
        self.may_write(actor.user_id)?;
        let actor_role = self.role(channel_id, actor.user_id);
        self.channel(channel_id)?.may_add(actor, actor_role, user_id)?;
        if let Some(member) = self.members.get(&(channel_id, user_id)) {
            return Ok((Subject::Member(member.clone()), None));
        }
        let status = self.users.get(&user_id).ok_or(Refusal::UserNotFound(user_id))?;
        if !status.may_write() {
            return Err(Refusal::TargetNotActive(user_id));
        }

        self.advance(channel_id, at, 0)?;
        let member = Member::new(self.channel(channel_id)?, user_id, MemberRole::Member, at);
        self.members.insert((channel_id, user_id), member.clone());
        self.changed_members.insert((channel_id, user_id));
        let change = Change::MemberJoined { member: member.clone(), added_by: actor.user_id };
        Ok((Subject::Member(member), Some(change)))
    }

    fn remove_member(
        &mut self,
        channel_id: ChannelId,
        actor: Actor,
        user_id: UserId,
        at: Timestamp,
    ) -> Result<(Subject, Option<Change>), Refusal> {
        self.may_write(actor.user_id)?;
        let actor_role = self.role(channel_id, actor.user_id);
        let channel = self.channel(channel_id)?;
        if !channel.may_see(actor_role, actor.admin) {
            return Err(Refusal::ChannelNotFound);
        }
        let Some(member) = self.members.get(&(channel_id, user_id)) else {
            return Ok((Subject::Channel(channel.clone()), None));
        };
        channel.may_remove(actor, actor_role, user_id, member.role)?;

        self.advance(channel_id, at, 0)?;
        self.changed_members.insert((channel_id, user_id));
        let channel = self.channel(channel_id)?.clone();
        self.members.remove(&(channel_id, user_id));
        Ok((Subject::Channel(channel), Some(Change::MemberLeft { user_id, removed_by: actor.user_id })))
    }

    fn change_details(
        &mut self,
        channel_id: ChannelId,
        actor: Actor,
        name: Option<String>,
        description: Option<String>,
        at: Timestamp,
    ) -> Result<(Subject, Option<Change>), Refusal> {
        self.may_write(actor.user_id)?;
        let actor_role = self.role(channel_id, actor.user_id);
        let channel = self.channel(channel_id)?;
        channel.may_change(actor, actor_role)?;
        let details = ChannelDetails {
            name: name.or_else(|| channel.details.name.clone()),
            description: description.or_else(|| channel.details.description.clone()).filter(|text| !text.is_empty()),
        };
        if details == channel.details {
            return Ok((Subject::Channel(channel.clone()), None));
        }

        self.advance(channel_id, at, 0)?;
        let channel = self.channel_mut(channel_id)?;
        channel.details = details.clone();
        Ok((Subject::Channel(channel.clone()), Some(Change::ChannelUpdated(details))))
    }

    fn close(
        &mut self,
        channel_id: ChannelId,
        actor: Actor,
        at: Timestamp,
    ) -> Result<(Subject, Option<Change>), Refusal> {
        self.may_write(actor.user_id)?;
        let actor_role = self.role(channel_id, actor.user_id);
        let channel = self.channel(channel_id)?;
        channel.may_close(actor, actor_role)?;
        if !channel.active {
            return Ok((Subject::Channel(channel.clone()), None));
        }

        self.advance(channel_id, at, 0)?;
        let channel = self.channel_mut(channel_id)?;
        channel.active = false;
        Ok((Subject::Channel(channel.clone()), Some(Change::ChannelClosed)))
    }

    /// Takes the next sequence number of the channel; only ever called by a command that will not be refused any more.
    fn advance(&mut self, channel_id: ChannelId, at: Timestamp, messages: u64) -> Result<(u64, u64), Refusal> {
        let channel = self.channel_mut(channel_id)?;
        channel.last_seq += 1;
        channel.message_count += messages;
        channel.updated_at = channel.updated_at.max(at);
        let head = (channel.last_seq, channel.message_count);
        self.changed_channels.insert(channel_id);
        Ok(head)
    }

    /// A sender has read what it wrote, and all before it.
    fn mark_read(&mut self, channel_id: ChannelId, user_id: UserId, seq: u64, count: u64) {
        if let Some(member) = self.members.get_mut(&(channel_id, user_id)) {
            member.last_read_seq = seq;
            member.last_read_count = count;
            self.changed_members.insert((channel_id, user_id));
        }
    }

    fn may_write(&self, user_id: UserId) -> Result<(), Refusal> {
        let status = *self.users.get(&user_id).ok_or(Refusal::UserNotFound(user_id))?;
        if !status.may_write() {
            return Err(Refusal::UserNotActive(status));
        }
        Ok(())
    }

    fn role(&self, channel_id: ChannelId, user_id: UserId) -> Option<MemberRole> {
        self.members.get(&(channel_id, user_id)).map(|member| member.role)
    }

    fn channel(&self, channel_id: ChannelId) -> Result<&Channel, Refusal> {
        self.channels.get(&channel_id).ok_or(Refusal::ChannelNotFound)
    }

    fn channel_mut(&mut self, channel_id: ChannelId) -> Result<&mut Channel, Refusal> {
        self.channels.get_mut(&channel_id).ok_or(Refusal::ChannelNotFound)
    }
}

#[cfg(test)]
mod tests;
