-- The change log: one row for each change of a delivery, in the order of the commits. It is no part of the schema: the
-- HTTP server creates it in the bus that it serves, when the first viewer comes. It is dropped when no viewer has come
-- for a day, see change_log.py. Other buses pay nothing for it.
-- Times are as in the first migration; `leased` to `reason` are those of the delivery after the change.

CREATE TABLE IF NOT EXISTS delivery_changes (
    id           INTEGER PRIMARY KEY,   -- grows by one, because the newest rows always stay
    delivery_id  INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    state        INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    leased       INTEGER NOT NULL,
    ready_at     INTEGER NOT NULL,
    delivered_at INTEGER,
    finished_at  INTEGER,
    reason       TEXT
) STRICT;

-- `at` is the time that the writer has set with the change, if it did: to ask the clock takes longer than the rest.
-- A lease that begins without an attempt, as for a prefetch, changes nothing that a receipt shows; its end may, and so
-- does a hold for another host, until the end of the year 9999.
DROP TRIGGER IF EXISTS delivery_changed;
CREATE TRIGGER delivery_changed AFTER UPDATE OF state, attempts, reason, lease ON deliveries
WHEN NEW.state <> OLD.state OR NEW.attempts <> OLD.attempts OR NEW.reason IS NOT OLD.reason
  OR NEW.lease IS NULL AND OLD.lease IS NOT NULL OR NEW.ready_at = 253402300799000000 AND OLD.ready_at <> NEW.ready_at
BEGIN
    INSERT INTO delivery_changes (delivery_id, at, state, attempts, leased, ready_at, delivered_at, finished_at, reason)
    VALUES (NEW.id, CASE WHEN NEW.finished_at <> coalesce(OLD.finished_at, 0) THEN NEW.finished_at
                         WHEN OLD.delivered_at IS NULL AND NEW.delivered_at IS NOT NULL THEN NEW.delivered_at
                         ELSE CAST((julianday('now') - 2440587.5) * 86400e3 + 0.5 AS INTEGER) * 1000 END,
            NEW.state, NEW.attempts, NEW.lease IS NOT NULL, NEW.ready_at, NEW.delivered_at, NEW.finished_at, NEW.reason);
END;

-- The log keeps the newest 100,000 changes, and up to 256 more.
DROP TRIGGER IF EXISTS delivery_changes_trim;
CREATE TRIGGER delivery_changes_trim AFTER INSERT ON delivery_changes WHEN NEW.id & 255 = 0
BEGIN
    DELETE FROM delivery_changes WHERE id <= NEW.id - 100000;
END;

-- A position in the log names this tag: after a gap in the log, or in another file, it is no position.
INSERT OR REPLACE INTO meta (key, value) VALUES ('change_log', lower(hex(randomblob(4))));
