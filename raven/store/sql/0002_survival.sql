-- Version 2: requests with a private address for the answer, reports of what was not delivered, attempts that run out.

ALTER TABLE messages ADD COLUMN reply_address TEXT;   -- where the sender of a request waits for the answer
ALTER TABLE messages ADD COLUMN report TEXT;          -- 'undelivered': tell the sender what expires or dies

ALTER TABLE deliveries ADD COLUMN max_attempts INTEGER NOT NULL DEFAULT 5;

-- The dead are few, and read by those who look after them.
CREATE INDEX deliveries_dead ON deliveries (recipient) WHERE state = 4;
