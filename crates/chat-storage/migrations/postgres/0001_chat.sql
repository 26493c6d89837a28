-- Times are milliseconds since 1970-01-01T00:00:00Z as BIGINT: the same code reads them from every store, without loss.
-- Counters are BIGINT. Names of enums are stored as in the API.

CREATE TABLE users (
    id             UUID   PRIMARY KEY,
    username       TEXT   NOT NULL,
    email          TEXT,
    status         TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    last_active_at BIGINT NOT NULL
);

CREATE TABLE channels (
    id            UUID    PRIMARY KEY,
    type          TEXT    NOT NULL,
    name          TEXT,
    description   TEXT,
    owner_id      UUID    REFERENCES users (id),
    active        BOOLEAN NOT NULL,
    epoch         UUID    NOT NULL,
    last_seq      BIGINT  NOT NULL,
    -- The oldest event that channel_events still has; last_seq + 1 if there is none.
    oldest_seq    BIGINT  NOT NULL DEFAULT 1,
    message_count BIGINT  NOT NULL,
    created_at    BIGINT  NOT NULL,
    updated_at    BIGINT  NOT NULL,
    -- DIRECT channels only: the two user ids, sorted, one after the other. One such channel a pair.
    direct_key    BYTEA,
    CONSTRAINT channels_direct_key UNIQUE (direct_key)
);

CREATE INDEX channels_public ON channels (updated_at DESC, id DESC) WHERE type = 'PUBLIC' AND active;

-- Each send moves its sender's marker: the free room keeps those updates on the page and out of the indexes.
CREATE TABLE channel_members (
    channel_id      UUID   NOT NULL REFERENCES channels (id),
    user_id         UUID   NOT NULL REFERENCES users (id),
    role            TEXT   NOT NULL,
    joined_at       BIGINT NOT NULL,
    last_read_seq   BIGINT NOT NULL,
    last_read_count BIGINT NOT NULL,
    PRIMARY KEY (channel_id, user_id)
) WITH (fillfactor = 80);

CREATE INDEX channel_members_user ON channel_members (user_id);

-- Rows of messages and channel_events are written only under the lock of their channel's row, after channel, sender and
-- reply target were read in the same transaction, and none of these is ever deleted. Foreign keys would check each row
-- again and lock the rows of busy senders.
CREATE TABLE messages (
    id                UUID   PRIMARY KEY,
    channel_id        UUID   NOT NULL,
    seq               BIGINT NOT NULL,
    sender_id         UUID   NOT NULL,
    client_message_id TEXT,
    type              TEXT   NOT NULL,
    status            TEXT   NOT NULL,
    -- The one line that stands for the payload.
    content           TEXT   NOT NULL,
    payload           TEXT   NOT NULL,
    reply_to          UUID,
    created_at        BIGINT NOT NULL,
    edited_at         BIGINT,
    deleted_at        BIGINT,
    CONSTRAINT messages_seq UNIQUE (channel_id, seq),
    CONSTRAINT messages_client_message_id UNIQUE (sender_id, client_message_id)
);

CREATE TABLE channel_events (
    channel_id UUID   NOT NULL,
    seq        BIGINT NOT NULL,
    event_id   UUID   NOT NULL,
    type       TEXT   NOT NULL,
    -- The JSON as published, byte for byte.
    body       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (channel_id, seq)
);
