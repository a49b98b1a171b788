-- Version 2: requests with a private reply address, reports about undelivered messages, limits on attempts.

ALTER TABLE messages ADD COLUMN reply_address TEXT;   -- the address at which the sender waits for the reply
ALTER TABLE messages ADD COLUMN report TEXT;          -- 'undelivered': report expired and dead deliveries to the sender

ALTER TABLE deliveries ADD COLUMN max_attempts INTEGER NOT NULL DEFAULT 5;

-- Dead deliveries are few; `raven dead-letters` reads them.
CREATE INDEX deliveries_dead ON deliveries (recipient) WHERE state = 4;
