-- The triggers of a bus with a link; the first link makes them, see exchange/schema.py. Other buses pay nothing for
-- them. They see the changes by every writer, also by a plain SQLite client.

-- A delivery that came from another host has changed its state, or the hold or the expiry of one that another host has
-- was changed here. News that the other host told keep its lease, and so are not told back. ON CONFLICT holds whatever
-- the UPDATE says, and OR IGNORE would not: the OR of an UPDATE goes before that of its triggers.
DROP TRIGGER IF EXISTS link_changed;
CREATE TRIGGER link_changed AFTER UPDATE OF state, lease, expires_at ON deliveries
WHEN NEW.frame IS NOT NULL
 AND CASE WHEN NEW.frame > 0 THEN NEW.lease IS NOT OLD.lease AND OLD.lease IS NOT NULL OR NEW.expires_at IS NOT OLD.expires_at
          ELSE NEW.state <> OLD.state END
BEGIN
    INSERT INTO link_news (delivery_id, lease) VALUES (NEW.id, CASE WHEN NEW.frame > 0 THEN OLD.lease END)
    ON CONFLICT (delivery_id) DO NOTHING;
END;

-- With a message goes what the link knows of it.
DROP TRIGGER IF EXISTS link_deleted;
CREATE TRIGGER link_deleted AFTER DELETE ON messages
BEGIN
    DELETE FROM link_in WHERE message_id = OLD.id;
END;

-- The unfinished deliveries that came from other hosts.
DROP INDEX IF EXISTS link_foreign;
CREATE INDEX link_foreign ON deliveries (recipient) WHERE frame = 0 AND state < 2;
