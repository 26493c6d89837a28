//! What the rows mean. Both adapters select columns by these names; a value that makes no sense is an error, not a panic.

use std::collections::HashMap;

use bytes::Bytes;
use chat_domain::{
    Channel, ChannelDetails, ChannelId, ClientMessageId, Member, Message, MessageContent, Timestamp, User, UserId,
    UserStatus,
    named::UnknownName,
    ports::{Access, ChannelCursor, ChannelSummary, ChannelView, Head, LoggedEvent, MemberView, Standing},
};
use sqlx::{FromRow, Row};
use uuid::Uuid;

use crate::error::corrupt;

type Read<T> = Result<T, sqlx::Error>;

/// A row of `users`.
#[derive(Debug, FromRow)]
pub(crate) struct UserRow {
    id: Uuid,
    username: String,
    email: Option<String>,
    status: String,
    tokens_valid_from: Option<i64>,
    created_at: i64,
    updated_at: i64,
    pub(crate) last_active_at: i64,
}

impl UserRow {
    pub(crate) fn read(self) -> Read<User> {
        Ok(User {
            id: self.id.into(),
            username: self.username,
            email: self.email,
            status: named(&self.status)?,
            tokens_valid_from: self.tokens_valid_from.map(Timestamp::from_millis),
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

/// What decides whether sessions of a user may be here.
#[derive(Debug, FromRow)]
pub(crate) struct StandingRow {
    id: Uuid,
    status: String,
    tokens_valid_from: Option<i64>,
}

impl StandingRow {
    pub(crate) fn read(self) -> Read<Standing> {
        Ok(Standing {
            user_id: self.id.into(),
            status: named(&self.status)?,
            tokens_valid_from: self.tokens_valid_from.map(Timestamp::from_millis),
        })
    }
}

/// A row of `channels`.
#[derive(Debug, FromRow)]
pub(crate) struct ChannelRow {
    id: Uuid,
    r#type: String,
    name: Option<String>,
    description: Option<String>,
    owner_id: Option<Uuid>,
    active: bool,
    epoch: Uuid,
    last_seq: i64,
    message_count: i64,
    created_at: i64,
    updated_at: i64,
}

impl ChannelRow {
    pub(crate) fn read(self) -> Read<Channel> {
        Ok(Channel {
            id: self.id.into(),
            channel_type: named(&self.r#type)?,
            details: ChannelDetails { name: self.name, description: self.description },
            owner_id: self.owner_id.map(UserId::from),
            active: self.active,
            epoch: self.epoch.into(),
            last_seq: count(self.last_seq)?,
            message_count: count(self.message_count)?,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

/// A row of `channel_members`.
#[derive(Debug, FromRow)]
pub(crate) struct MemberRow {
    channel_id: Uuid,
    user_id: Uuid,
    role: String,
    joined_at: i64,
    last_read_seq: i64,
    last_read_count: i64,
}

impl MemberRow {
    pub(crate) fn read(self) -> Read<Member> {
        Ok(Member {
            channel_id: self.channel_id.into(),
            user_id: self.user_id.into(),
            role: named(&self.role)?,
            joined_at: Timestamp::from_millis(self.joined_at),
            last_read_seq: count(self.last_read_seq)?,
            last_read_count: count(self.last_read_count)?,
        })
    }
}

/// A channel and a user, and what binds them. Columns of the channel are those of [`ChannelRow`].
#[derive(Debug, FromRow)]
pub(crate) struct PlaceRow {
    channel_id: Uuid,
    user_id: Uuid,
    user_status: Option<String>,
    role: Option<String>,
    joined_at: Option<i64>,
    last_read_seq: Option<i64>,
    last_read_count: Option<i64>,
    channel_found: bool,
}

/// What is there of the channels, users and memberships that were asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) channels: HashMap<ChannelId, Channel>,
    pub(crate) members: Vec<Member>,
    pub(crate) users: HashMap<UserId, UserStatus>,
}

impl Places {
    pub(crate) fn read<'r, R: Row>(rows: &'r [R]) -> Read<Self>
    where
        PlaceRow: FromRow<'r, R>,
        ChannelRow: FromRow<'r, R>,
    {
        let mut places = Self::default();
        for row in rows {
            let mut place = PlaceRow::from_row(row)?;
            let channel_id = place.channel_id.into();
            if place.channel_found && !places.channels.contains_key(&channel_id) {
                places.channels.insert(channel_id, ChannelRow::from_row(row)?.read()?);
            }
            if let Some(status) = place.user_status.take() {
                places.users.insert(place.user_id.into(), named(&status)?);
            }
            places.members.extend(place.member()?);
        }
        Ok(places)
    }
}

impl PlaceRow {
    fn member(self) -> Read<Option<Member>> {
        let Some(role) = self.role else { return Ok(None) };
        let row = MemberRow {
            channel_id: self.channel_id,
            user_id: self.user_id,
            role,
            joined_at: present(self.joined_at)?,
            last_read_seq: present(self.last_read_seq)?,
            last_read_count: present(self.last_read_count)?,
        };
        row.read().map(Some)
    }
}

/// A row of `channel_members` with the user's name.
#[derive(Debug, FromRow)]
pub(crate) struct MemberViewRow {
    #[sqlx(flatten)]
    member: MemberRow,
    username: String,
}

impl MemberViewRow {
    pub(crate) fn read(self) -> Read<MemberView> {
        Ok(MemberView { member: self.member.read()?, username: self.username })
    }
}

/// A row of `messages`.
#[derive(Debug, FromRow)]
pub(crate) struct MessageRow {
    id: Uuid,
    channel_id: Uuid,
    seq: i64,
    sender_id: Uuid,
    client_message_id: Option<String>,
    r#type: String,
    status: String,
    payload: String,
    reply_to: Option<Uuid>,
    created_at: i64,
}

impl MessageRow {
    pub(crate) fn read(self) -> Read<Message> {
        let mut payload = serde_json::Deserializer::from_str(&self.payload);
        let content = MessageContent::decode(named(&self.r#type)?, &mut payload).map_err(corrupt)?;
        let client_message_id = self.client_message_id.map(ClientMessageId::new).transpose().map_err(corrupt)?;
        Ok(Message {
            id: self.id.into(),
            channel_id: self.channel_id.into(),
            seq: count(self.seq)?,
            sender_id: self.sender_id.into(),
            client_message_id,
            content,
            status: named(&self.status)?,
            reply_to: self.reply_to.map(Into::into),
            sent_at: Timestamp::from_millis(self.created_at),
        })
    }
}

/// A line of a channel list, or one channel, as a user stands to it.
#[derive(Debug, FromRow)]
pub(crate) struct ChannelViewRow {
    #[sqlx(flatten)]
    channel: ChannelRow,
    member_count: i64,
    my_user_id: Option<Uuid>,
    my_role: Option<String>,
    my_joined_at: Option<i64>,
    my_last_read_seq: Option<i64>,
    my_last_read_count: Option<i64>,
    peer_id: Option<Uuid>,
    peer_username: Option<String>,
    peer_email: Option<String>,
    peer_status: Option<String>,
    peer_tokens_valid_from: Option<i64>,
    peer_created_at: Option<i64>,
    peer_updated_at: Option<i64>,
}

impl ChannelViewRow {
    pub(crate) fn read(mut self) -> Read<ChannelView> {
        let member = self.member()?;
        let peer = self.peer()?;
        Ok(ChannelView { channel: self.channel.read()?, member, member_count: count(self.member_count)?, peer })
    }

    fn member(&mut self) -> Read<Option<Member>> {
        let Some(user_id) = self.my_user_id else { return Ok(None) };
        let row = MemberRow {
            channel_id: self.channel.id,
            user_id,
            role: present(self.my_role.take())?,
            joined_at: present(self.my_joined_at)?,
            last_read_seq: present(self.my_last_read_seq)?,
            last_read_count: present(self.my_last_read_count)?,
        };
        row.read().map(Some)
    }

    fn peer(&mut self) -> Read<Option<User>> {
        let Some(id) = self.peer_id else { return Ok(None) };
        let updated_at = present(self.peer_updated_at)?;
        let row = UserRow {
            id,
            username: present(self.peer_username.take())?,
            email: self.peer_email.take(),
            status: present(self.peer_status.take())?,
            tokens_valid_from: self.peer_tokens_valid_from,
            created_at: present(self.peer_created_at)?,
            updated_at,
            last_active_at: updated_at,
        };
        row.read().map(Some)
    }
}

/// A line of a channel list with the channel's newest message.
#[derive(Debug, FromRow)]
pub(crate) struct ChannelSummaryRow {
    #[sqlx(flatten)]
    view: ChannelViewRow,
    message_id: Option<Uuid>,
    message_seq: Option<i64>,
    message_sender_id: Option<Uuid>,
    message_client_message_id: Option<String>,
    message_type: Option<String>,
    message_status: Option<String>,
    message_payload: Option<String>,
    message_reply_to: Option<Uuid>,
    message_created_at: Option<i64>,
}

impl ChannelSummaryRow {
    pub(crate) fn read(mut self) -> Read<ChannelSummary> {
        let last_message = self.last_message()?;
        Ok(ChannelSummary { view: self.view.read()?, last_message })
    }

    fn last_message(&mut self) -> Read<Option<Message>> {
        let Some(id) = self.message_id else { return Ok(None) };
        let row = MessageRow {
            id,
            channel_id: self.view.channel.id,
            seq: present(self.message_seq)?,
            sender_id: present(self.message_sender_id)?,
            client_message_id: self.message_client_message_id.take(),
            r#type: present(self.message_type.take())?,
            status: present(self.message_status.take())?,
            payload: present(self.message_payload.take())?,
            reply_to: self.message_reply_to,
            created_at: present(self.message_created_at)?,
        };
        row.read().map(Some)
    }
}

/// How far a channel's log goes.
#[derive(Debug, FromRow)]
pub(crate) struct HeadRow {
    id: Uuid,
    epoch: Uuid,
    last_seq: i64,
    oldest_seq: i64,
}

impl HeadRow {
    pub(crate) fn read(self) -> Read<Head> {
        Ok(Head {
            channel_id: self.id.into(),
            epoch: self.epoch.into(),
            head_seq: count(self.last_seq)?,
            oldest_seq: count(self.oldest_seq)?,
        })
    }
}

/// What a user may hear of a channel.
#[derive(Debug, FromRow)]
pub(crate) struct AccessRow {
    user_id: Uuid,
    #[sqlx(flatten)]
    head: HeadRow,
    r#type: String,
    active: bool,
    role: Option<String>,
    status: Option<String>,
}

impl AccessRow {
    pub(crate) fn read(self) -> Read<(UserId, Access)> {
        let access = Access {
            head: self.head.read()?,
            channel_type: named(&self.r#type)?,
            active: self.active,
            role: self.role.as_deref().map(named).transpose()?,
            status: self.status.as_deref().map(named).transpose()?,
        };
        Ok((self.user_id.into(), access))
    }
}

/// A row of `channel_events`, as it is replayed.
#[derive(Debug, FromRow)]
pub(crate) struct EventRow {
    seq: i64,
    body: String,
}

impl EventRow {
    pub(crate) fn read(self, channel_id: ChannelId) -> Read<LoggedEvent> {
        Ok(LoggedEvent { channel_id, seq: count(self.seq)?, body: Bytes::from(self.body) })
    }
}

/// Is a user's last activity old enough to be written anew? Not every request of a user is worth a write.
pub(crate) fn is_stale(last_active_at: i64, now: Timestamp) -> bool {
    const RESOLUTION_MILLIS: i64 = 5 * 60 * 1_000;
    now.as_millis().saturating_sub(last_active_at) >= RESOLUTION_MILLIS
}

/// The place in a channel list, newest first, right before the first line of a page.
pub(crate) fn list_start(after: Option<ChannelCursor>) -> (i64, Uuid) {
    after.map_or((i64::MAX, Uuid::max()), |cursor| (cursor.updated_at.as_millis(), cursor.id.as_uuid()))
}

/// What all of these rows mean.
pub(crate) fn read_all<R, T>(rows: Vec<R>, read: impl FnMut(R) -> Read<T>) -> Read<Vec<T>> {
    rows.into_iter().map(read).collect()
}

/// A number of the domain as a column. A caller's number may be larger than any that is stored.
pub(crate) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn count(column: i64) -> Read<u64> {
    u64::try_from(column).map_err(corrupt)
}

fn named<T: std::str::FromStr<Err = UnknownName>>(name: &str) -> Read<T> {
    name.parse().map_err(corrupt)
}

fn present<T>(value: Option<T>) -> Read<T> {
    value.ok_or_else(|| corrupt("a joined row lacks a column that cannot be null"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> MessageRow {
        MessageRow {
            id: Uuid::nil(),
            channel_id: Uuid::nil(),
            seq: 1,
            sender_id: Uuid::nil(),
            client_message_id: Some("c1".into()),
            r#type: "TEXT".into(),
            status: "SENT".into(),
            payload: r#"{"text":"hi"}"#.into(),
            reply_to: None,
            created_at: 0,
        }
    }

    #[test]
    fn a_corrupt_row_is_an_error() {
        assert!(message().read().is_ok());
        let corrupt = [
            MessageRow { r#type: "POEM".into(), ..message() },
            MessageRow { status: "LOST".into(), ..message() },
            MessageRow { payload: "{".into(), ..message() },
            MessageRow { payload: "{}".into(), ..message() },
            MessageRow { seq: -1, ..message() },
            MessageRow { client_message_id: Some(String::new()), ..message() },
        ];
        for row in corrupt {
            let shown = format!("{row:?}");
            assert!(matches!(row.read(), Err(sqlx::Error::Decode(_))), "{shown}");
        }
    }
}
