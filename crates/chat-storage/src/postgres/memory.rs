//! What batches have read and left behind, so that the next one need not read it again.
//!
//! It may be out of date at any time. Who uses it names what it believes in the write, which then does nothing if that is
//! not true any more: the ends of the channels' logs, which move with whatever changes a channel or its members, and the
//! statuses of the senders.

use std::hash::Hash;

use chat_domain::{Channel, ChannelId, Member, UserId, UserStatus, ledger::Needs};
use hashlink::LruCache;

use crate::{batch::Changes, rows::Places};

/// Channels that are remembered; those that were not needed for the longest time are forgotten first. About 6 MB.
const CHANNELS: usize = 16_384;
/// Memberships that are remembered, and users. About 12 MB.
const MEMBERS: usize = 65_536;
/// After it was out of date, so many batches do without: another process writes to the same channels.
const DISTRUST: u32 = 64;

/// What is remembered.
pub(super) struct Memory {
    channels: LruCache<ChannelId, Channel>,
    members: LruCache<(ChannelId, UserId), Member>,
    users: LruCache<UserId, UserStatus>,
    /// Batches that are still to do without.
    distrust: u32,
}

impl Default for Memory {
    fn default() -> Self {
        let (channels, members, users) = (LruCache::new(CHANNELS), LruCache::new(MEMBERS), LruCache::new(MEMBERS));
        Self { channels, members, users, distrust: 0 }
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
            places.channels.insert(*id, self.channels.get(id)?.clone());
        }
        for key in &needs.members {
            places.members.push(self.members.get(key)?.clone());
            places.users.insert(key.1, *self.users.get(&key.1)?);
        }
        Some(places)
    }

    /// Remembers what was read.
    pub(super) fn note(&mut self, places: Places) {
        let Places { channels, members, users } = places;
        remember(&mut self.channels, channels);
        remember(&mut self.members, members.into_iter().map(|member| ((member.channel_id, member.user_id), member)));
        remember(&mut self.users, users);
    }

    /// Remembers what was written.
    pub(super) fn follow(&mut self, changes: &Changes) {
        remember(&mut self.channels, changes.channels.iter().map(|channel| (channel.id, channel.clone())));
        for key in &changes.ended {
            self.members.remove(key);
        }
        let members = changes.members.iter().map(|member| ((member.channel_id, member.user_id), member.clone()));
        remember(&mut self.members, members);
    }

    /// It was out of date.
    pub(super) fn doubt(&mut self, needs: &Needs) {
        for id in &needs.channels {
            self.channels.remove(id);
        }
        for key in &needs.members {
            self.members.remove(key);
            self.users.remove(&key.1);
        }
        self.distrust = DISTRUST;
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("channels", &self.channels.len()).field("members", &self.members.len()).finish()
    }
}

fn remember<K: Eq + Hash, V>(cache: &mut LruCache<K, V>, entries: impl IntoIterator<Item = (K, V)>) {
    for (key, value) in entries {
        cache.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::{ChannelDetails, ChannelType, MemberRole, Timestamp};

    use super::*;

    fn places() -> (Needs, Places) {
        let at = Timestamp::from_millis(1_800_000_000_000);
        let (channel_id, user_id) = (ChannelId::new(at), UserId::new(at));
        let channel = Channel::new(channel_id, ChannelType::Public, ChannelDetails::default(), user_id, at);
        let member = Member::new(&channel, user_id, MemberRole::Owner, at);
        let needs =
            Needs { channels: [channel_id].into(), members: [(channel_id, user_id)].into(), ..Needs::default() };
        let places = Places {
            channels: [(channel_id, channel)].into(),
            members: vec![member],
            users: [(user_id, UserStatus::Active)].into(),
        };
        (needs, places)
    }

    #[test]
    fn what_was_read_is_known_until_it_was_wrong() {
        let (mut memory, (needs, places)) = (Memory::default(), places());
        assert!(memory.recall(&needs).is_none());
        memory.note(places.clone());
        let recalled = memory.recall(&needs).unwrap();
        assert_eq!((&recalled.channels, &recalled.members), (&places.channels, &places.members));
        assert_eq!(recalled.users, places.users);
        memory.doubt(&needs);
        memory.note(places);
        let without = (0..).take_while(|_| memory.recall(&needs).is_none()).count();
        assert_eq!(without, usize::try_from(DISTRUST).unwrap());
    }

    #[test]
    fn what_was_written_counts_more_than_what_was_read() {
        let (mut memory, (needs, places)) = (Memory::default(), places());
        memory.note(places.clone());
        let channel = places.channels.into_values().next().unwrap();
        let changed = Channel { last_seq: channel.last_seq + 1, ..channel };
        memory.follow(&Changes { channels: vec![changed.clone()], ..Changes::default() });
        assert_eq!(memory.recall(&needs).unwrap().channels[&changed.id], changed);
        memory.follow(&Changes { ended: needs.members.iter().copied().collect(), ..Changes::default() });
        assert!(memory.recall(&needs).is_none(), "somebody is no member any more");
    }
}
