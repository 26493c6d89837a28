//! A batch of a single send, as most are while little is sent.
//!
//! Each statement is handed to the connection's thread and waited for, which takes longer than what it does: these are one
//! text, with the commit at its end.

use super::{
    append::{bind_event, bind_message},
    writer::{Statement, commit},
};
use crate::{batch::Changes, rows::column};

const SEND: &str = concat!(
    "\
    INSERT INTO messages (id, channel_id, seq, sender_id, client_message_id, type, status, content, payload, reply_to, \
        created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?); \
    INSERT INTO channel_events (channel_id, seq, event_id, type, body, created_at) VALUES (?, ?, ?, ?, ?, ?); \
    UPDATE channels SET last_seq = ?, message_count = ?, updated_at = ? WHERE id = ?; \
    UPDATE channel_members SET last_read_seq = max(last_read_seq, ?), last_read_count = max(last_read_count, ?) \
        WHERE channel_id = ? AND user_id = ?; ",
    commit!()
);

/// What writes and commits such a batch. `None` if it is anything else.
pub(super) fn statement(changes: &Changes) -> Option<Statement<'_>> {
    let (message, event, channel, marker) = changes.as_single_send()?;
    let inserts = bind_event(bind_message(sqlx::query(SEND), message), event);
    let send = inserts
        .bind(column(channel.last_seq))
        .bind(column(channel.message_count))
        .bind(channel.updated_at.as_millis())
        .bind(channel.id.as_uuid())
        .bind(column(marker.last_read_seq))
        .bind(column(marker.last_read_count))
        .bind(marker.channel_id.as_uuid())
        .bind(marker.user_id.as_uuid());
    Some(send)
}
