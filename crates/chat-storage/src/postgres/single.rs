//! A batch of a single send, as most are while little is sent.
//!
//! What PostgreSQL does before it touches a row depends on the statement, and for one row it is most of the work: this
//! statement has no arrays to unfold, and nothing to join. With one channel there is no order in which to lock them either.

use chat_domain::{Channel, Member, UserId, UserStatus};

use super::write::{Senders, Statement};
use crate::{
    batch::{Changes, NewEvent, NewMessage, storable},
    rows::{Places, column},
};

/// Moves the channel on if it is as it was read and the sender is what it is believed to be, and writes the rest if it did.
const SEND: &str = "WITH channel AS (UPDATE channels SET last_seq = $6, message_count = $7, updated_at = $8 \
         WHERE id = $1 AND epoch = $2 AND last_seq = $3 AND message_count = $4 AND updated_at = $5 \
         AND ($9 IS NULL OR EXISTS (SELECT FROM users WHERE id = $9 AND status = $10)) RETURNING id), \
     message AS (INSERT INTO messages (channel_id, id, seq, sender_id, client_message_id, type, status, content, payload, \
         reply_to, created_at) SELECT id, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20 FROM channel), \
     event AS (INSERT INTO channel_events (channel_id, seq, event_id, type, body, created_at) \
         SELECT id, $21, $22, $23, $24, $25 FROM channel), \
     member AS (UPDATE channel_members m SET last_read_seq = GREATEST(m.last_read_seq, $27), \
         last_read_count = GREATEST(m.last_read_count, $28) FROM channel \
         WHERE m.channel_id = channel.id AND m.user_id = $26) \
     SELECT EXISTS (SELECT FROM channel)";

/// All that a single send changes.
pub(super) struct Single<'c> {
    before: &'c Channel,
    channel: &'c Channel,
    /// Whom it believes to be what, unless that was read just now.
    sender: Option<(&'c UserId, &'c UserStatus)>,
    message: &'c NewMessage,
    event: &'c NewEvent,
    marker: &'c Member,
}

impl<'c> Single<'c> {
    /// `None` if the batch is anything else.
    pub(super) fn of(changes: &'c Changes, read: &'c Places, senders: &'c Senders) -> Option<Self> {
        let (message, event, channel, marker) = changes.as_single_send()?;
        let before = read.channels.get(&channel.id)?;
        (senders.len() < 2).then(|| Self { before, channel, sender: senders.iter().next(), message, event, marker })
    }

    pub(super) fn statement(self) -> Statement<'c> {
        let Self { before, channel, sender, message: NewMessage { message, payload }, event, marker } = self;
        sqlx::query(SEND)
            .bind(channel.id.as_uuid())
            .bind(before.epoch.as_uuid())
            .bind(column(before.last_seq))
            .bind(column(before.message_count))
            .bind(before.updated_at.as_millis())
            .bind(column(channel.last_seq))
            .bind(column(channel.message_count))
            .bind(channel.updated_at.as_millis())
            .bind(sender.map(|(id, _)| id.as_uuid()))
            .bind(sender.map(|(_, status)| status.as_str()))
            .bind(message.id.as_uuid())
            .bind(column(message.seq))
            .bind(message.sender_id.as_uuid())
            .bind(message.client_message_id.as_ref().map(|id| id.as_str()))
            .bind(message.content.message_type().as_str())
            .bind(message.status.as_str())
            .bind(storable(message.content.summary()))
            .bind(payload)
            .bind(message.reply_to.map(|id| id.as_uuid()))
            .bind(message.sent_at.as_millis())
            .bind(column(event.seq))
            .bind(event.event_id)
            .bind(&*event.event_type)
            .bind(&*event.body)
            .bind(event.at.as_millis())
            .bind(marker.user_id.as_uuid())
            .bind(column(marker.last_read_seq))
            .bind(column(marker.last_read_count))
    }
}
