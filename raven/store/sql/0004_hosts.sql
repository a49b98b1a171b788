-- Version 4: links between the buses of several hosts, see raven/exchange. Without a link these tables stay empty.

-- The other host on which the address was seen; NULL: it is used on this one.
ALTER TABLE identities ADD COLUMN host TEXT;

-- The hosts to which this bus is linked. A delivery that waits for a host, or was finished there, has that host's lease.
-- `sent` numbers were given to frames for it; it has confirmed those up to `confirmed`. `received` is the last number
-- of its frames that is committed here. An epoch tells numbers from those that were given before it began, and a tag
-- tells two frames of one number apart.
CREATE TABLE link_hosts (
    host        TEXT PRIMARY KEY,
    lease       INTEGER NOT NULL UNIQUE,
    epoch       INTEGER NOT NULL,
    sent        INTEGER NOT NULL DEFAULT 0,
    sent_tag    INTEGER NOT NULL DEFAULT 0,
    confirmed   INTEGER NOT NULL DEFAULT 0,
    their_epoch INTEGER NOT NULL DEFAULT 0,
    received    INTEGER NOT NULL DEFAULT 0,
    last_tag    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The frames for a host that it has not confirmed. `message_id` is NULL for news of deliveries.
CREATE TABLE link_out (
    host       TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    tag        INTEGER NOT NULL,
    message_id INTEGER,
    content    TEXT NOT NULL,           -- JSON: the deliveries of the message, or the news
    PRIMARY KEY (host, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX link_out_message ON link_out (message_id) WHERE message_id IS NOT NULL;

-- The messages that came from other hosts. `origin` is host/id/created_at there; `message_id` is NULL if refused.
CREATE TABLE link_in (
    origin        TEXT PRIMARY KEY,
    message_id    INTEGER,
    reply_address TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX link_in_message ON link_in (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX link_in_reply ON link_in (reply_address) WHERE reply_address IS NOT NULL;

-- The deliveries whose changes another host must still hear of.
CREATE TABLE link_news (
    delivery_id INTEGER PRIMARY KEY,
    lease       INTEGER                 -- of the host that held the delivery when it changed here; else NULL
) STRICT;
