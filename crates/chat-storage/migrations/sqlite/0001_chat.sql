-- Times are milliseconds since 1970-01-01T00:00:00Z: the same code reads them from every store, without loss.
-- Ids are BLOBs of 16 bytes. Names of enums are stored as in the API.

CREATE TABLE users (
    id             BLOB    NOT NULL PRIMARY KEY,
    username       TEXT    NOT NULL,
    email          TEXT,
    status         TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    last_active_at INTEGER NOT NULL
) STRICT;

CREATE TABLE channels (
    id            BLOB    NOT NULL PRIMARY KEY,
    type          TEXT    NOT NULL,
    name          TEXT,
    description   TEXT,
    owner_id      BLOB    REFERENCES users (id),
    active        INTEGER NOT NULL,
    epoch         BLOB    NOT NULL,
    last_seq      INTEGER NOT NULL,
    -- The oldest event that channel_events still has; last_seq + 1 if there is none.
    oldest_seq    INTEGER NOT NULL DEFAULT 1,
    message_count INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    -- DIRECT channels only: the two user ids, sorted, one after the other. One such channel a pair.
    direct_key    BLOB    UNIQUE
) STRICT;

CREATE INDEX channels_public ON channels (updated_at DESC, id DESC) WHERE type = 'PUBLIC' AND active;

CREATE TABLE channel_members (
    channel_id      BLOB    NOT NULL REFERENCES channels (id),
    user_id         BLOB    NOT NULL REFERENCES users (id),
    role            TEXT    NOT NULL,
    joined_at       INTEGER NOT NULL,
    last_read_seq   INTEGER NOT NULL,
    last_read_count INTEGER NOT NULL,
    PRIMARY KEY (channel_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX channel_members_user ON channel_members (user_id);

-- Rows of messages and channel_events are written only after channel, sender and reply target were read in the same
-- transaction, and none of these is ever deleted. Foreign keys would check each row again.
CREATE TABLE messages (
    id                BLOB    NOT NULL PRIMARY KEY,
    channel_id        BLOB    NOT NULL,
    seq               INTEGER NOT NULL,
    sender_id         BLOB    NOT NULL,
    client_message_id TEXT,
    type              TEXT    NOT NULL,
    status            TEXT    NOT NULL,
    -- The one line that stands for the payload.
    content           TEXT    NOT NULL,
    payload           TEXT    NOT NULL,
    reply_to          BLOB,
    created_at        INTEGER NOT NULL,
    edited_at         INTEGER,
    deleted_at        INTEGER,
    UNIQUE (channel_id, seq),
    UNIQUE (sender_id, client_message_id)
) STRICT;

CREATE TABLE channel_events (
    channel_id BLOB    NOT NULL,
    seq        INTEGER NOT NULL,
    event_id   BLOB    NOT NULL,
    type       TEXT    NOT NULL,
    -- The JSON as published, byte for byte.
    body       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (channel_id, seq)
) STRICT;
