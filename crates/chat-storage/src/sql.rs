//! Statements that both dialects understand, with `$1` for a parameter in both.

/// Columns of [`crate::rows::UserRow`].
macro_rules! user_columns {
    () => {
        "id, username, email, status, tokens_valid_from, created_at, updated_at, last_active_at"
    };
}

/// Columns of [`crate::rows::ChannelRow`].
macro_rules! channel_columns {
    () => {
        "id, type, name, description, owner_id, active, epoch, last_seq, message_count, created_at, updated_at"
    };
}

/// Columns of [`crate::rows::MessageRow`].
macro_rules! message_columns {
    () => {
        "id, channel_id, seq, sender_id, client_message_id, type, status, payload, reply_to, created_at"
    };
}

/// Columns of [`crate::rows::ChannelViewRow`] for a channel `c`, and the joins they need. `$1` is the user.
macro_rules! view_columns {
    () => {
        "c.id, c.type, c.name, c.description, c.owner_id, c.active, c.epoch, c.last_seq, c.message_count, \
         c.created_at, c.updated_at, \
         (SELECT count(*) FROM channel_members WHERE channel_id = c.id) AS member_count, \
         me.user_id AS my_user_id, me.role AS my_role, me.joined_at AS my_joined_at, \
         me.last_read_seq AS my_last_read_seq, me.last_read_count AS my_last_read_count, \
         peer.id AS peer_id, peer.username AS peer_username, peer.email AS peer_email, peer.status AS peer_status, \
         peer.tokens_valid_from AS peer_tokens_valid_from, peer.created_at AS peer_created_at, peer.updated_at AS peer_updated_at"
    };
}
macro_rules! view_joins {
    () => {
        " LEFT JOIN channel_members me ON me.channel_id = c.id AND me.user_id = $1 \
          LEFT JOIN channel_members other ON c.type = 'DIRECT' AND other.channel_id = me.channel_id \
               AND other.user_id <> $1 \
          LEFT JOIN users peer ON peer.id = other.user_id"
    };
}

/// Columns of [`crate::rows::PlaceRow`] for keys `k`, and the joins they need.
macro_rules! place_columns {
    () => {
        "k.channel_id, k.user_id, u.status AS user_status, m.role, m.joined_at, m.last_read_seq, m.last_read_count, \
         c.id IS NOT NULL AS channel_found, \
         c.id, c.type, c.name, c.description, c.owner_id, c.active, c.epoch, c.last_seq, c.message_count, \
         c.created_at, c.updated_at"
    };
}
macro_rules! place_joins {
    () => {
        " LEFT JOIN users u ON u.id = k.user_id \
          LEFT JOIN channels c ON c.id = k.channel_id \
          LEFT JOIN channel_members m ON m.channel_id = k.channel_id AND m.user_id = k.user_id"
    };
}

/// The rest of a channel list after its page `c` was chosen: how the user stands to each, and its newest message.
macro_rules! list_of_page {
    ($page:literal) => {
        concat!(
            "WITH c AS (",
            $page,
            " ORDER BY c.updated_at DESC, c.id DESC LIMIT $4) SELECT ",
            view_columns!(),
            ", last.id AS message_id, last.seq AS message_seq, last.sender_id AS message_sender_id, \
             last.client_message_id AS message_client_message_id, last.type AS message_type, \
             last.status AS message_status, last.payload AS message_payload, last.reply_to AS message_reply_to, \
             last.created_at AS message_created_at FROM c",
            view_joins!(),
            " LEFT JOIN messages last ON last.channel_id = c.id \
                  AND last.seq = (SELECT max(seq) FROM messages WHERE channel_id = c.id) \
              ORDER BY c.updated_at DESC, c.id DESC"
        )
    };
}

/// Channels that get a new epoch in one transaction: it holds up those who send there, and has to end in time on a slow disk.
pub(crate) const EPOCHS_AT_ONCE: i64 = 1_000;

pub(crate) const USER: &str = concat!("SELECT ", user_columns!(), " FROM users WHERE id = $1");

pub(crate) const INSERT_USER: &str = "INSERT INTO users (id, username, status, created_at, updated_at, last_active_at) \
     VALUES ($1, $2, 'ACTIVE', $3, $3, $3) ON CONFLICT (id) DO NOTHING";

pub(crate) const TOUCH_USER: &str = "UPDATE users SET last_active_at = $2 WHERE id = $1 AND last_active_at < $2";

/// `$3` says whether the e-mail address changes.
pub(crate) const UPDATE_PROFILE: &str = concat!(
    "UPDATE users SET username = COALESCE($2, username), email = CASE WHEN $3 THEN $4 ELSE email END, \
     updated_at = $5 WHERE id = $1 RETURNING ",
    user_columns!()
);

pub(crate) const SET_STATUS: &str = "UPDATE users SET status = $2, updated_at = $3 WHERE id = $1";

/// Never moves the moment back.
pub(crate) const REVOKE_TOKENS: &str = "UPDATE users \
     SET tokens_valid_from = CASE WHEN tokens_valid_from > $2 THEN tokens_valid_from ELSE $2 END \
     WHERE id = $1 RETURNING tokens_valid_from";

pub(crate) const CHANNEL_VIEW: &str =
    concat!("SELECT ", view_columns!(), " FROM channels c", view_joins!(), " WHERE c.id = $2");

pub(crate) const MY_CHANNELS: &str = list_of_page!(
    "SELECT c.* FROM channel_members m JOIN channels c ON c.id = m.channel_id \
     WHERE m.user_id = $1 AND (c.updated_at, c.id) < ($2, $3)"
);

pub(crate) const PUBLIC_CHANNELS: &str = list_of_page!(
    "SELECT c.* FROM channels c WHERE c.type = 'PUBLIC' AND c.active AND (c.updated_at, c.id) < ($2, $3)"
);

/// `$3` says whether the page begins at the very first member.
pub(crate) const MEMBERS: &str = "SELECT m.channel_id, m.user_id, m.role, m.joined_at, m.last_read_seq, \
     m.last_read_count, u.username FROM channel_members m JOIN users u ON u.id = m.user_id \
     WHERE m.channel_id = $1 AND m.user_id >= $2 AND ($3 OR m.user_id <> $2) ORDER BY m.user_id LIMIT $4";

pub(crate) const INSERT_CHANNEL: &str = "INSERT INTO channels (id, type, name, description, owner_id, active, epoch, \
     last_seq, message_count, created_at, updated_at, direct_key) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (direct_key) DO NOTHING";

pub(crate) const DIRECT_CHANNEL: &str = concat!("SELECT ", channel_columns!(), " FROM channels WHERE direct_key = $1");

pub(crate) const MEMBER: &str = "SELECT channel_id, user_id, role, joined_at, last_read_seq, last_read_count \
     FROM channel_members WHERE channel_id = $1 AND user_id = $2";

pub(crate) const MESSAGE: &str = concat!("SELECT ", message_columns!(), " FROM messages WHERE id = $1");

/// Both sides of the pivot `$2`, in one statement and so in one snapshot.
pub(crate) const HISTORY: &str = concat!(
    "SELECT * FROM (SELECT ",
    message_columns!(),
    " FROM messages WHERE channel_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3) AS older \
     UNION ALL SELECT * FROM (SELECT ",
    message_columns!(),
    " FROM messages WHERE channel_id = $1 AND seq >= $2 ORDER BY seq LIMIT $4) AS newer"
);

pub(crate) const REPLAY: &str =
    "SELECT seq, body FROM channel_events WHERE channel_id = $1 AND seq > $2 ORDER BY seq LIMIT $3";

pub(crate) use {message_columns, place_columns, place_joins, user_columns};
