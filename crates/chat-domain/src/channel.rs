//! Channels, their members, and who may do what in them.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Actor, ChannelId, Refusal, Timestamp, UserId, Violation, limits, named::named_enum};

/// The aggregate that people talk in, with the head of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// What kind of channel.
    pub channel_type: ChannelType,
    /// Name and description.
    pub details: ChannelDetails,
    /// The member that owns it. A DIRECT channel has none.
    pub owner_id: Option<UserId>,
    /// False after it was deactivated. Final.
    pub active: bool,
    /// The incarnation of its log.
    pub epoch: Epoch,
    /// `seq` of the newest event, 0 for an empty log.
    pub last_seq: u64,
    /// Messages ever sent to it.
    pub message_count: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The newest event, or its making.
    pub updated_at: Timestamp,
}

named_enum! {
    /// The kinds of channel.
    pub enum ChannelType {
        /// Two users, one such channel a pair, membership fixed.
        Direct = "DIRECT",
        /// A closed circle: each member may add others.
        Group = "GROUP",
        /// Anyone may find, read and join it.
        Public = "PUBLIC",
        /// A closed circle: owner and moderators add members.
        Private = "PRIVATE",
    }
}

/// What a channel is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelDetails {
    /// Needed for all but DIRECT channels, which have none.
    pub name: Option<String>,
    /// A line about it.
    pub description: Option<String>,
}

impl ChannelDetails {
    /// Every rule that the details break for a channel of this type.
    pub fn check(&self, channel_type: ChannelType) -> Vec<Violation> {
        let name = match (channel_type, self.name.as_deref()) {
            (ChannelType::Direct, Some(_)) => Some(Violation::new("name", "must be absent in a DIRECT channel")),
            (ChannelType::Direct, None) => None,
            (_, None) => Some(Violation::new("name", "is needed")),
            (_, Some(name)) => check_name(name).err(),
        };
        let description = self.description.as_deref().and_then(|text| check_description(text).err());
        [name, description].into_iter().flatten().collect()
    }

    /// Every rule that a change of these details breaks. An absent one stays as it is.
    pub fn check_change(name: Option<&str>, description: Option<&str>) -> Vec<Violation> {
        let name = name.and_then(|name| check_name(name).err());
        let description = description.and_then(|text| check_description(text).err());
        [name, description].into_iter().flatten().collect()
    }
}

fn check_name(name: &str) -> Result<(), Violation> {
    if name.trim().is_empty() {
        return Err(Violation::new("name", "must not be blank"));
    }
    if name.chars().any(char::is_control) {
        return Err(Violation::new("name", "must not have control characters"));
    }
    if name.chars().count() > limits::CHANNEL_NAME {
        return Err(Violation::new("name", format!("must have at most {} characters", limits::CHANNEL_NAME)));
    }
    Ok(())
}

fn check_description(description: &str) -> Result<(), Violation> {
    if description.chars().any(char::is_control) {
        return Err(Violation::new("description", "must not have control characters"));
    }
    if description.chars().count() > limits::CHANNEL_DESCRIPTION {
        let most = limits::CHANNEL_DESCRIPTION;
        return Err(Violation::new("description", format!("must have at most {most} characters")));
    }
    Ok(())
}

/// A random id of one incarnation of a channel's log. It changes when storage is restored from a backup, so that a
/// client does not take old sequence numbers for new events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(Uuid);

impl Epoch {
    /// A new incarnation, begun at the given time.
    pub fn new(at: Timestamp) -> Self {
        Self(crate::EventId::new(at).as_uuid())
    }

    /// The epoch as a plain UUID, for storage.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for Epoch {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A user's place in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The channel.
    pub channel_id: ChannelId,
    /// The user.
    pub user_id: UserId,
    /// What it may do there.
    pub role: MemberRole,
    /// Since when.
    pub joined_at: Timestamp,
    /// Newest event that the user has read.
    pub last_read_seq: u64,
    /// How many of the channel's messages there were then.
    pub last_read_count: u64,
}

impl Member {
    /// A new member of the channel, which has read everything before it came.
    pub fn new(channel: &Channel, user_id: UserId, role: MemberRole, at: Timestamp) -> Self {
        Self {
            channel_id: channel.id,
            user_id,
            role,
            joined_at: at,
            last_read_seq: channel.last_seq,
            last_read_count: channel.message_count,
        }
    }
}

named_enum! {
    /// What a member may do in its channel. Later ones may do all that earlier ones may.
    pub enum MemberRole {
        /// Send, read, leave.
        Member = "MEMBER",
        /// Also add and remove members, change the details.
        Moderator = "MODERATOR",
        /// Also deactivate the channel. One a channel; cannot leave.
        Owner = "OWNER",
    }
}

impl Channel {
    /// A new, empty channel. A DIRECT one belongs to nobody.
    pub fn new(
        id: ChannelId,
        channel_type: ChannelType,
        details: ChannelDetails,
        creator: UserId,
        at: Timestamp,
    ) -> Self {
        Self {
            id,
            channel_type,
            details,
            owner_id: (channel_type != ChannelType::Direct).then_some(creator),
            active: true,
            epoch: Epoch::new(at),
            last_seq: 0,
            message_count: 0,
            created_at: at,
            updated_at: at,
        }
    }

    /// The role that the creator of this channel gets in it.
    pub const fn creator_role(&self) -> MemberRole {
        match self.channel_type {
            ChannelType::Direct => MemberRole::Member,
            _ => MemberRole::Owner,
        }
    }

    /// May a user with this membership know of the channel and read it?
    pub fn may_see(&self, role: Option<MemberRole>, admin: bool) -> bool {
        admin || role.is_some() || self.channel_type == ChannelType::Public
    }

    /// May a member send?
    pub fn may_send(&self, role: Option<MemberRole>) -> Result<(), Refusal> {
        self.seen_and_active(role, false)?;
        if role.is_none() {
            return Err(Refusal::NotAMember);
        }
        Ok(())
    }

    /// May the actor bring the user in? Joining is adding oneself.
    pub fn may_add(&self, actor: Actor, actor_role: Option<MemberRole>, user_id: UserId) -> Result<(), Refusal> {
        self.seen_and_active(actor_role, actor.admin)?;
        if self.channel_type == ChannelType::Direct {
            return Err(Refusal::DirectIsFixed);
        }
        if actor.admin {
            return Ok(());
        }
        if actor.user_id == user_id {
            // Who sees a channel without being in it sees a PUBLIC one, which is open to all.
            return Ok(());
        }
        let needed = match self.channel_type {
            ChannelType::Private => MemberRole::Moderator,
            _ => MemberRole::Member,
        };
        has_role(actor_role, needed)
    }

    /// May the actor take out the member, who has the given role? Leaving is removing oneself.
    pub fn may_remove(
        &self,
        actor: Actor,
        actor_role: Option<MemberRole>,
        user_id: UserId,
        user_role: MemberRole,
    ) -> Result<(), Refusal> {
        self.seen_and_active(actor_role, actor.admin)?;
        if self.channel_type == ChannelType::Direct {
            return Err(Refusal::DirectIsFixed);
        }
        if user_role == MemberRole::Owner {
            return Err(if actor.user_id == user_id { Refusal::OwnerCannotLeave } else { Refusal::RoleTooLow });
        }
        if actor.user_id == user_id || actor.admin {
            return Ok(());
        }
        has_role(actor_role, MemberRole::Moderator)?;
        if actor_role <= Some(user_role) {
            return Err(Refusal::RoleTooLow);
        }
        Ok(())
    }

    /// May the actor change name and description?
    pub fn may_change(&self, actor: Actor, actor_role: Option<MemberRole>) -> Result<(), Refusal> {
        self.seen_and_active(actor_role, actor.admin)?;
        if self.channel_type == ChannelType::Direct {
            return Err(Refusal::DirectIsFixed);
        }
        if actor.admin {
            return Ok(());
        }
        has_role(actor_role, MemberRole::Moderator)
    }

    /// May the actor deactivate the channel? Asking again is no error.
    pub fn may_close(&self, actor: Actor, actor_role: Option<MemberRole>) -> Result<(), Refusal> {
        if !self.may_see(actor_role, actor.admin) {
            return Err(Refusal::ChannelNotFound);
        }
        // Nor by an admin: the pair would get the closed channel back whenever it asks for one.
        if self.channel_type == ChannelType::Direct {
            return Err(Refusal::DirectIsFixed);
        }
        if actor.admin {
            return Ok(());
        }
        has_role(actor_role, MemberRole::Owner)
    }

    fn seen_and_active(&self, role: Option<MemberRole>, admin: bool) -> Result<(), Refusal> {
        if !self.may_see(role, admin) {
            return Err(Refusal::ChannelNotFound);
        }
        if !self.active {
            return Err(Refusal::ChannelInactive);
        }
        Ok(())
    }
}

fn has_role(role: Option<MemberRole>, needed: MemberRole) -> Result<(), Refusal> {
    match role {
        None => Err(Refusal::NotAMember),
        Some(role) if role < needed => Err(Refusal::RoleTooLow),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_000);

    fn channel(channel_type: ChannelType) -> Channel {
        let details = ChannelDetails { name: Some("room".into()), description: None };
        Channel::new(ChannelId::new(AT), channel_type, details, UserId::new(AT), AT)
    }

    fn actor() -> Actor {
        Actor::user(UserId::new(AT))
    }

    #[test]
    fn only_public_channels_are_seen_by_strangers() {
        for &channel_type in ChannelType::ALL {
            let seen = channel(channel_type).may_see(None, false);
            assert_eq!(seen, channel_type == ChannelType::Public, "{channel_type}");
            assert!(channel(channel_type).may_see(Some(MemberRole::Member), false));
            assert!(channel(channel_type).may_see(None, true), "an admin sees {channel_type}");
        }
    }

    #[test]
    fn strangers_cannot_tell_a_private_channel_from_none() {
        let private = channel(ChannelType::Private);
        assert_eq!(private.may_send(None), Err(Refusal::ChannelNotFound));
        assert_eq!(private.may_change(actor(), None), Err(Refusal::ChannelNotFound));
        assert_eq!(private.may_close(actor(), None), Err(Refusal::ChannelNotFound));
        assert_eq!(channel(ChannelType::Public).may_send(None), Err(Refusal::NotAMember));
    }

    #[test]
    fn nothing_is_sent_to_an_inactive_channel() {
        let closed = Channel { active: false, ..channel(ChannelType::Group) };
        assert_eq!(closed.may_send(Some(MemberRole::Owner)), Err(Refusal::ChannelInactive));
    }

    #[test]
    fn joining_is_for_public_channels() {
        let me = actor();
        assert_eq!(channel(ChannelType::Public).may_add(me, None, me.user_id), Ok(()));
        assert_eq!(channel(ChannelType::Group).may_add(me, None, me.user_id), Err(Refusal::ChannelNotFound));
        let admin = Actor { admin: true, ..me };
        assert_eq!(channel(ChannelType::Private).may_add(admin, None, me.user_id), Ok(()));
    }

    #[test]
    fn who_may_add_depends_on_the_type() {
        let other = UserId::new(AT);
        let add = |channel_type, role| channel(channel_type).may_add(actor(), Some(role), other);
        assert_eq!(add(ChannelType::Group, MemberRole::Member), Ok(()));
        assert_eq!(add(ChannelType::Private, MemberRole::Member), Err(Refusal::RoleTooLow));
        assert_eq!(add(ChannelType::Private, MemberRole::Moderator), Ok(()));
        assert_eq!(add(ChannelType::Direct, MemberRole::Member), Err(Refusal::DirectIsFixed));
    }

    #[test]
    fn members_are_removed_from_above_only() {
        let other = UserId::new(AT);
        let group = channel(ChannelType::Group);
        let remove = |role, of| group.may_remove(actor(), Some(role), other, of);
        assert_eq!(remove(MemberRole::Member, MemberRole::Member), Err(Refusal::RoleTooLow));
        assert_eq!(remove(MemberRole::Moderator, MemberRole::Member), Ok(()));
        assert_eq!(remove(MemberRole::Moderator, MemberRole::Moderator), Err(Refusal::RoleTooLow));
        assert_eq!(remove(MemberRole::Owner, MemberRole::Moderator), Ok(()));
        assert_eq!(remove(MemberRole::Moderator, MemberRole::Owner), Err(Refusal::RoleTooLow));
    }

    #[test]
    fn the_owner_does_not_leave_but_others_do() {
        let me = actor();
        let leave = |role| channel(ChannelType::Group).may_remove(me, Some(role), me.user_id, role);
        assert_eq!(leave(MemberRole::Owner), Err(Refusal::OwnerCannotLeave));
        assert_eq!(leave(MemberRole::Moderator), Ok(()));
        assert_eq!(leave(MemberRole::Member), Ok(()));
    }

    #[test]
    fn direct_channels_have_no_owner_and_no_name() {
        let direct = channel(ChannelType::Direct);
        assert_eq!(direct.owner_id, None);
        assert_eq!(direct.creator_role(), MemberRole::Member);
        assert_eq!(direct.details.check(ChannelType::Direct).len(), 1);
        assert_eq!(ChannelDetails::default().check(ChannelType::Direct), []);
    }

    #[test]
    fn names_are_needed_and_bounded() {
        let named = |name: &str| ChannelDetails { name: Some(name.into()), description: None };
        assert_eq!(named(&"ü".repeat(limits::CHANNEL_NAME)).check(ChannelType::Group), []);
        assert_eq!(named(&"ü".repeat(limits::CHANNEL_NAME + 1)).check(ChannelType::Group).len(), 1);
        assert_eq!(named(" ").check(ChannelType::Public).len(), 1);
        assert_eq!(ChannelDetails::default().check(ChannelType::Public).len(), 1);
        let description = Some("x".repeat(limits::CHANNEL_DESCRIPTION + 1));
        assert_eq!(ChannelDetails { description, ..named("a") }.check(ChannelType::Public).len(), 1);
    }

    #[test]
    fn control_characters_are_refused() {
        for bad in ["a\0", "a\nb", "\u{1b}[31ma", "a\u{85}b"] {
            assert_eq!(ChannelDetails::check_change(Some(bad), Some(bad)).len(), 2, "{bad:?}");
        }
    }

    fn any_role() -> impl Strategy<Value = Option<MemberRole>> {
        prop_oneof![Just(None), (0..MemberRole::ALL.len()).prop_map(|i| Some(MemberRole::ALL[i]))]
    }

    proptest! {
        /// A higher role never loses a right that a lower one has.
        #[test]
        fn rights_grow_with_the_role(kind in 0..ChannelType::ALL.len(), low in any_role(), high in any_role(), of in 0..2usize) {
            prop_assume!(low <= high);
            let channel = channel(ChannelType::ALL[kind]);
            let (me, other, of) = (actor(), UserId::new(AT), MemberRole::ALL[of]);
            prop_assert!(channel.may_send(low).is_err() || channel.may_send(high).is_ok());
            prop_assert!(channel.may_add(me, low, other).is_err() || channel.may_add(me, high, other).is_ok());
            prop_assert!(channel.may_remove(me, low, other, of).is_err() || channel.may_remove(me, high, other, of).is_ok());
            prop_assert!(channel.may_change(me, low).is_err() || channel.may_change(me, high).is_ok());
            prop_assert!(channel.may_close(me, low).is_err() || channel.may_close(me, high).is_ok());
        }

        /// No rule lets anybody change a channel that was deactivated.
        #[test]
        fn closed_is_closed(kind in 0..ChannelType::ALL.len(), role in any_role(), admin in any::<bool>()) {
            let channel = Channel { active: false, ..channel(ChannelType::ALL[kind]) };
            let (me, other) = (Actor { admin, ..actor() }, UserId::new(AT));
            prop_assert!(channel.may_send(role).is_err());
            prop_assert!(channel.may_add(me, role, other).is_err());
            prop_assert!(channel.may_remove(me, role, other, MemberRole::Member).is_err());
            prop_assert!(channel.may_change(me, role).is_err());
        }
    }
}
