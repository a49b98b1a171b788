-- Version 3: due timers are found by their time and by leases, not by walking through all recipients.

-- Whether a lease holds the delivery. As the first column of the index it keeps the few leased deliveries together.
ALTER TABLE deliveries ADD COLUMN leased INTEGER GENERATED ALWAYS AS (lease IS NOT NULL) VIRTUAL;

DROP INDEX deliveries_open;
CREATE INDEX deliveries_open ON deliveries (leased, recipient, ready_at, urgency) WHERE state < 2;

-- Ordinary mail enters neither of the next two: a delayed delivery enters the first, an expiring one the second.
-- A leased delivery is in neither, so that no search for due timers has to skip it.
CREATE INDEX deliveries_delayed ON deliveries (ready_at) WHERE state < 2 AND ready_at > 0 AND lease IS NULL;
DROP INDEX deliveries_expiry;
CREATE INDEX deliveries_expiry ON deliveries (expires_at) WHERE state < 2 AND expires_at IS NOT NULL AND lease IS NULL;

-- The recipients of a message with many, so that a search for one of them never walks through the others. The first
-- two of each message are not in it.
CREATE INDEX deliveries_wide ON deliveries (recipient) WHERE id & 1048575 >= 2;

-- The addresses that no client has used for long; a client updates its own at most every few seconds.
CREATE INDEX identities_seen ON identities (last_seen);
