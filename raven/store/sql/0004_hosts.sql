-- Version 4: links between the buses of several hosts, see raven/exchange. Without a link these tables stay empty.

-- The other host on which the address was seen; NULL: it is used on this one.
ALTER TABLE identities ADD COLUMN host TEXT;

-- The link's mark on a delivery; NULL: only this bus has ever had it. Above 0: the tag of the frame that gave it to
-- another host. 0: its message came from another host. -1: it came so, and this host has given it up. -2: another host
-- has sent the same message, by its key, and hears of it.
ALTER TABLE deliveries ADD COLUMN frame INTEGER;

-- The hosts to which this bus is linked. A delivery that waits for a host, or was finished there, has that host's lease.
-- `sent` numbers were given to frames for it; it has confirmed those up to `confirmed`. `received` is the last number
-- of its frames that is committed here. An epoch tells numbers from those that were given before it began, and a tag
-- tells two frames of one number apart.
CREATE TABLE link_hosts (
    host          TEXT PRIMARY KEY,
    lease         INTEGER NOT NULL UNIQUE,
    epoch         INTEGER NOT NULL,
    sent          INTEGER NOT NULL DEFAULT 0,
    sent_tag      INTEGER NOT NULL DEFAULT 0,
    confirmed     INTEGER NOT NULL DEFAULT 0,
    confirmed_tag INTEGER NOT NULL DEFAULT 0,
    their_epoch   INTEGER NOT NULL DEFAULT 0,
    received      INTEGER NOT NULL DEFAULT 0,
    last_tag      INTEGER NOT NULL DEFAULT 0
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

-- The messages that came from other hosts. `origin` is host/id/created_at there. `frame` is the tag of the frame that
-- brought it last; `news` the number of the frame that tells last of it. `returns` counts how often this host gave it
-- back, and 10 more if it has several origins, or one here.
CREATE TABLE link_in (
    origin        TEXT PRIMARY KEY,
    message_id    INTEGER NOT NULL,
    reply_address TEXT,
    frame         INTEGER NOT NULL DEFAULT 0,
    news          INTEGER NOT NULL DEFAULT 0,
    returns       INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX link_in_message ON link_in (message_id);
CREATE INDEX link_in_reply ON link_in (reply_address) WHERE reply_address IS NOT NULL;

-- The deliveries whose changes another host must still hear of. WITHOUT ROWID, because SQLite gives an UPDATE whose
-- trigger inserts a rowid a journal of its own.
CREATE TABLE link_news (
    delivery_id INTEGER PRIMARY KEY,
    lease       INTEGER                 -- of the host that held the delivery when it changed here; else NULL
) STRICT, WITHOUT ROWID;
