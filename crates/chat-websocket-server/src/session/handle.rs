use std::collections::HashSet;

use chat_domain::{ChannelId, UserId};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{outbox::Outbox, room::Replays};

/// What others see of a session: rooms push into its outbox, and take channels away from it.
#[derive(Debug)]
pub struct SessionHandle {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: UserId,
    /// What waits to be sent.
    pub outbox: Outbox,
    /// The replays that it waits for.
    pub(crate) replays: Replays,
    /// The channels that it has open, or is opening.
    channels: Mutex<HashSet<ChannelId>>,
}

impl SessionHandle {
    /// A session without channels.
    pub fn new(id: Uuid, user_id: UserId, outbox: Outbox) -> Self {
        Self { id, user_id, outbox, replays: Replays::default(), channels: Mutex::default() }
    }

    /// Takes note that the session opens a channel. False if it may not have another one.
    pub fn add_channel(&self, channel_id: ChannelId, most: usize) -> bool {
        let mut channels = self.channels.lock();
        if channels.len() >= most && !channels.contains(&channel_id) {
            return false;
        }
        channels.insert(channel_id);
        true
    }

    /// Takes note that the channel is closed for this session.
    pub fn forget_channel(&self, channel_id: ChannelId) {
        self.channels.lock().remove(&channel_id);
    }

    /// Takes all channels away.
    pub fn take_channels(&self) -> HashSet<ChannelId> {
        std::mem::take(&mut self.channels.lock())
    }
}
