-- The tables of a raven bus, version 1. The next migrations have the later changes; views.sql has the views.
-- Times are microseconds since 1970-01-01 UTC.
-- urgency: 0 blocking, 1 prompt, 2 fyi.   state: 0 sent, 1 delivered, 2 acked, 3 expired, 4 dead.

-- Append-only. Ids grow, and SQLite never reuses one, because `prune` keeps the newest row.
CREATE TABLE messages (
    id             INTEGER PRIMARY KEY,
    sender         TEXT NOT NULL,
    "to"           TEXT NOT NULL,        -- the sender's text; a list has one address per line
    type           TEXT NOT NULL,
    body           TEXT NOT NULL,        -- JSON
    urgency        INTEGER NOT NULL DEFAULT 1 CHECK (urgency BETWEEN 0 AND 2),
    tags           TEXT,                 -- JSON array of texts, or NULL
    correlation_id TEXT,
    reply_to       INTEGER,              -- the id of the message that this one replies to
    task_id        TEXT,
    dedup_key      TEXT,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER
) STRICT;

CREATE UNIQUE INDEX messages_dedup ON messages (sender, dedup_key) WHERE dedup_key IS NOT NULL;
CREATE INDEX messages_correlation ON messages (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX messages_reply ON messages (reply_to) WHERE reply_to IS NOT NULL;
CREATE INDEX messages_task ON messages (task_id) WHERE task_id IS NOT NULL;

-- One row per message and recipient; small, because each step of the delivery rewrites it.
-- Its id is the message's id * 2^20 plus the recipient's ordinal. A range of ids finds the deliveries of a message,
-- without a second index to update at every send.
CREATE TABLE deliveries (
    id           INTEGER PRIMARY KEY,
    message_id   INTEGER GENERATED ALWAYS AS (id >> 20) VIRTUAL,
    recipient    TEXT NOT NULL,
    urgency      INTEGER NOT NULL,
    state        INTEGER NOT NULL DEFAULT 0,
    ready_at     INTEGER NOT NULL DEFAULT 0,   -- 0: ready now; else the end of its delay or lease
    lease        INTEGER,                      -- token of the lease that holds it, or NULL
    attempts     INTEGER NOT NULL DEFAULT 0,
    delivered_at INTEGER,
    finished_at  INTEGER,
    expires_at   INTEGER,
    reason       TEXT                          -- why it was released, or died
) STRICT;

-- A claim reads exactly the rows that it leases: one recipient's with ready_at 0, by urgency, then by id (the rowid ends
-- every index entry). Finished rows are not in the index, so it does not grow with the history.
CREATE INDEX deliveries_open ON deliveries (recipient, ready_at, urgency) WHERE state < 2;
CREATE INDEX deliveries_expiry ON deliveries (expires_at) WHERE state < 2 AND expires_at IS NOT NULL;

-- The registered addresses; a broadcast goes to all that match its pattern.
CREATE TABLE identities (
    address       TEXT PRIMARY KEY,
    role          TEXT NOT NULL,
    session       TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    last_seen     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('created_at', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'));
