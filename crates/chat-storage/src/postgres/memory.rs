//! What batches have read and left behind, so that the next one need not read it again.
//!
//! It may be out of date at any time. Who uses it names in the write what it believes, which then does nothing if that is
//! not true any more: the state of each channel, which moves with whatever changes the channel or its members, and the
//! statuses of the senders. Members are remembered for one state of their channel, and go with it.

use std::collections::HashMap;

use chat_domain::{Channel, ChannelId, Member, UserId, UserStatus, ledger::Needs};
use hashlink::LruCache;

use crate::{batch::Changes, rows::Places};

/// Channels that are remembered; those that were not needed for the longest time are forgotten first. Each takes some
/// hundred bytes, and its name and description.
const CHANNELS: usize = 16_384;
/// Memberships that are remembered, of all channels together, and users. About 12 MB.
const MEMBERS: usize = 65_536;
/// After it was out of date, so many batches do without: another process writes to the same channels.
const DISTRUST: u32 = 64;

/// What is remembered.
pub(super) struct Memory {
    places: LruCache<ChannelId, Place>,
    /// In all places.
    members: usize,
    users: LruCache<UserId, UserStatus>,
    /// Batches that are still to do without.
    distrust: u32,
}

/// A channel in one state, and members that it has in this state.
struct Place {
    channel: Channel,
    members: HashMap<UserId, Member>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { places: LruCache::new(CHANNELS), members: 0, users: LruCache::new(MEMBERS), distrust: 0 }
    }
}

impl Memory {
    /// What is needed, or `None` if some of it is not here, or what is here is not to be trusted.
    pub(super) fn recall(&mut self, needs: &Needs) -> Option<Places> {
        if self.distrust > 0 {
            self.distrust -= 1;
            return None;
        }
        let mut places = Places::default();
        for id in &needs.channels {
            places.channels.insert(*id, self.places.get(id)?.channel.clone());
        }
        for (channel_id, user_id) in &needs.members {
            places.members.push(self.places.peek(channel_id)?.members.get(user_id)?.clone());
            places.users.insert(*user_id, *self.users.get(user_id)?);
        }
        Some(places)
    }

    /// Remembers what a batch has read and then written.
    pub(super) fn note(&mut self, read: Places, changes: &Changes) {
        for channel in read.channels.into_values() {
            self.begin(channel);
        }
        for member in read.members {
            self.put(member);
        }
        for (user_id, status) in read.users {
            self.users.insert(user_id, status);
        }
        for channel in &changes.channels {
            if let Some(place) = self.places.get_mut(&channel.id) {
                place.channel = channel.clone();
            }
        }
        for (channel_id, user_id) in &changes.ended {
            let place = self.places.get_mut(channel_id);
            self.members -= usize::from(place.is_some_and(|place| place.members.remove(user_id).is_some()));
        }
        for member in &changes.members {
            self.put(member.clone());
        }
        while self.members > MEMBERS
            && let Some((_, place)) = self.places.remove_lru()
        {
            self.members -= place.members.len();
        }
    }

    /// It was out of date.
    pub(super) fn doubt(&mut self, needs: &Needs) {
        for id in &needs.channels {
            self.forget(id);
        }
        for (_, user_id) in &needs.members {
            self.users.remove(user_id);
        }
        self.distrust = DISTRUST;
    }

    /// The channel is in this state. Members that are remembered of another one are forgotten.
    fn begin(&mut self, channel: Channel) {
        if self.places.peek(&channel.id).is_some_and(|place| place.channel == channel) {
            return;
        }
        self.forget(&channel.id);
        // Room for one more, so that none is forgotten with its members uncounted.
        if self.places.len() == CHANNELS {
            self.members -= self.places.remove_lru().map_or(0, |(_, place)| place.members.len());
        }
        self.places.insert(channel.id, Place { channel, members: HashMap::new() });
    }

    fn put(&mut self, member: Member) {
        if let Some(place) = self.places.get_mut(&member.channel_id) {
            self.members += usize::from(place.members.insert(member.user_id, member).is_none());
        }
    }

    fn forget(&mut self, channel_id: &ChannelId) {
        self.members -= self.places.remove(channel_id).map_or(0, |place| place.members.len());
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("channels", &self.places.len()).field("members", &self.members).finish()
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::{ChannelDetails, ChannelType, MemberRole, Timestamp};

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// One channel and one member, and what a send there needs.
    fn places(channel_id: ChannelId) -> (Needs, Places) {
        let user_id = UserId::new(AT);
        let channel = Channel::new(channel_id, ChannelType::Public, ChannelDetails::default(), user_id, AT);
        let member = Member::new(&channel, user_id, MemberRole::Owner, AT);
        let needs =
            Needs { channels: [channel_id].into(), members: [(channel_id, user_id)].into(), ..Needs::default() };
        let places = Places {
            channels: [(channel_id, channel)].into(),
            members: vec![member],
            users: [(user_id, UserStatus::Active)].into(),
        };
        (needs, places)
    }

    fn moved_on(places: &Places) -> Channel {
        let channel = places.channels.values().next().unwrap().clone();
        Channel { last_seq: channel.last_seq + 1, ..channel }
    }

    #[test]
    fn what_was_read_is_known_until_it_was_wrong() {
        let (mut memory, (needs, places)) = (Memory::default(), places(ChannelId::new(AT)));
        assert!(memory.recall(&needs).is_none());
        memory.note(places.clone(), &Changes::default());
        let recalled = memory.recall(&needs).unwrap();
        assert_eq!((&recalled.channels, &recalled.members), (&places.channels, &places.members));
        assert_eq!(recalled.users, places.users);
        memory.doubt(&needs);
        memory.note(places, &Changes::default());
        let without = (0..).take_while(|_| memory.recall(&needs).is_none()).count();
        assert_eq!(without, usize::try_from(DISTRUST).unwrap());
    }

    #[test]
    fn members_move_on_with_a_write_of_ours() {
        let (mut memory, (needs, places)) = (Memory::default(), places(ChannelId::new(AT)));
        memory.note(places.clone(), &Changes::default());
        let changed = moved_on(&places);
        let changes = Changes { channels: vec![changed.clone()], ..Changes::default() };
        let recalled = memory.recall(&needs).unwrap();
        memory.note(recalled, &changes);
        assert_eq!(memory.recall(&needs).unwrap().channels[&changed.id], changed);
        let ended = Changes { ended: needs.members.iter().copied().collect(), ..Changes::default() };
        memory.note(Places::default(), &ended);
        assert!(memory.recall(&needs).is_none(), "it is no member any more");
        assert_eq!(memory.members, 0);
    }

    /// Somebody else may have removed who was remembered.
    #[test]
    fn members_are_forgotten_when_their_channel_is_read_in_another_state() {
        let channel_id = ChannelId::new(AT);
        let (mut memory, (needs, places), (_, of_another)) =
            (Memory::default(), places(channel_id), places(channel_id));
        memory.note(places.clone(), &Changes::default());
        let channels = [(channel_id, moved_on(&places))].into();
        memory.note(Places { channels, ..of_another }, &Changes::default());
        assert!(memory.recall(&needs).is_none());
        assert_eq!(memory.members, 1);
    }

    #[test]
    fn it_is_bounded() {
        let mut memory = Memory::default();
        let mut last = None;
        for n in 0..CHANNELS as u128 + 10 {
            let (needs, places) = places(uuid::Uuid::from_u128(n).into());
            memory.note(places, &Changes::default());
            last = Some(needs);
        }
        assert_eq!((memory.places.len(), memory.members), (CHANNELS, CHANNELS));
        assert!(memory.recall(&last.unwrap()).is_some());
        let (_, crowded) = places(uuid::Uuid::from_u128(1).into());
        let member = crowded.members[0].clone();
        let members =
            (0..=MEMBERS as u128).map(|n| Member { user_id: uuid::Uuid::from_u128(n).into(), ..member.clone() });
        memory.note(Places { members: members.collect(), ..crowded }, &Changes::default());
        assert!(memory.members <= MEMBERS);
        assert_eq!(memory.members, memory.places.iter().map(|(_, place)| place.members.len()).sum::<usize>());
    }
}
