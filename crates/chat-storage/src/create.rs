//! What a new channel becomes.

use chat_domain::{Channel, ChannelType, Member, MemberRole, Refusal, User, UserId, ports::NewChannel};
use uuid::Uuid;

/// A channel about to be made.
pub(crate) struct Founding {
    pub(crate) channel: Channel,
    pub(crate) creator: Member,
    /// Nobody twice.
    others: Vec<Member>,
    /// In a DIRECT channel: what no two of them share.
    pub(crate) direct_key: Option<Vec<u8>>,
}

impl Founding {
    pub(crate) fn new(new: NewChannel) -> Self {
        let NewChannel { channel, creator, mut others } = new;
        others.sort_unstable();
        others.dedup();
        others.retain(|other| *other != creator);
        let direct_key = (channel.channel_type == ChannelType::Direct)
            .then(|| direct_key(creator, others.first().copied().unwrap_or(creator)));

        let member = |user_id, role| Member::new(&channel, user_id, role, channel.created_at);
        let creator = member(creator, channel.creator_role());
        let others = others.into_iter().map(|other| member(other, MemberRole::Member)).collect();
        Self { channel, creator, others, direct_key }
    }

    /// Who must be known for this.
    pub(crate) fn user_ids(&self) -> impl Iterator<Item = Uuid> {
        std::iter::once(&self.creator).chain(&self.others).map(|member| member.user_id.as_uuid())
    }

    /// The memberships to write.
    pub(crate) fn members(&self) -> Vec<Member> {
        std::iter::once(&self.creator).chain(&self.others).cloned().collect()
    }

    /// May the creator make channels?
    pub(crate) fn check_creator(&self, users: &[User]) -> Result<(), Refusal> {
        let creator = find(users, self.creator.user_id)?;
        if !creator.status.may_write() {
            return Err(Refusal::UserNotActive(creator.status));
        }
        Ok(())
    }

    /// May the others be brought in?
    pub(crate) fn check_others(&self, users: &[User]) -> Result<(), Refusal> {
        for member in &self.others {
            if !find(users, member.user_id)?.status.may_write() {
                return Err(Refusal::TargetNotActive(member.user_id));
            }
        }
        Ok(())
    }
}

fn find(users: &[User], id: UserId) -> Result<&User, Refusal> {
    users.iter().find(|user| user.id == id).ok_or(Refusal::UserNotFound(id))
}

fn direct_key(one: UserId, other: UserId) -> Vec<u8> {
    let (low, high) = (one.min(other), one.max(other));
    [low.as_uuid().into_bytes(), high.as_uuid().into_bytes()].concat()
}
