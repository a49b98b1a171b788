-- Every statement that raven runs, by name: a heading `-- name --`, a line of description, the statement.
-- Reads and writes of messages name each column, so that one that a later raven adds while this one runs is in nobody's
-- way. The names come from MessageRow in message.py, in its order: @columns and @values are those of an INSERT, @delivery
-- is a SELECT list of `messages AS m` with `deliveries AS d`, @whole one of the view `log`, and @inherited names what an
-- answer takes from its message, of `messages AS m`.
-- NOT INDEXED keeps the planner on the range of ids: through an index on unfinished deliveries it would walk a whole
-- backlog.

-- insert_message --
-- Append one message; the rowid is its id.
INSERT INTO messages (@columns) VALUES (@values);

-- insert_delivery --
-- Address a message to one recipient; `ordinal` counts that message's recipients from 0.
INSERT INTO deliveries (id, recipient, urgency, ready_at, expires_at, max_attempts)
VALUES ((:message_id << 20) + :ordinal, :recipient, :urgency, :ready_at, :expires_at, :max_attempts);

-- find_duplicate --
-- The id of the message that a sender has already sent under a dedup_key.
SELECT id FROM messages WHERE sender = :sender AND dedup_key = :dedup_key;

-- matching_addresses --
-- The registered addresses that a broadcast pattern stands for.
SELECT address FROM identities
 WHERE (:role = '*' OR role = :role) AND (:session = '*' OR session = :session)
 ORDER BY address;

-- upsert_identity --
-- Register an address, or note that it was seen now.
INSERT INTO identities (address, role, session, registered_at, last_seen)
VALUES (:address, :role, :session, :now, :now)
ON CONFLICT (address) DO UPDATE SET last_seen = excluded.last_seen;

-- list_identities --
-- Every registered address, of one session where :session is given.
SELECT address, registered_at, last_seen FROM identities
 WHERE :session IS NULL OR session = :session
 ORDER BY session, role;

-- list_unacked --
-- What one recipient has not acked and may see now: what is ready, and what is leased; by urgency, then id.
SELECT @delivery
  FROM (SELECT * FROM (SELECT id, urgency FROM deliveries
                        WHERE state < 2 AND recipient = :recipient AND ready_at = 0
                          AND (expires_at IS NULL OR expires_at > :now)
                        ORDER BY urgency, id LIMIT :max)
         UNION ALL
        SELECT id, urgency FROM deliveries
         WHERE state < 2 AND recipient = :recipient AND ready_at > 0 AND (lease IS NOT NULL OR ready_at <= :now)
           AND (expires_at IS NULL OR expires_at > :now)) AS open
  JOIN deliveries AS d ON d.id = open.id
  JOIN messages AS m ON m.id = d.id >> 20
 ORDER BY open.urgency, open.id LIMIT :max;

-- mark_delivered --
-- Note that a recipient has seen a message for the first time.
UPDATE deliveries NOT INDEXED SET state = 1, delivered_at = :now
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient AND state = 0;

-- peek_ready --
-- What there is to do for one recipient: is anything ready, when does the next delay or lease end; has any mail expired.
SELECT EXISTS (SELECT 1 FROM deliveries WHERE state < 2 AND recipient = :recipient AND ready_at = 0),
       (SELECT min(ready_at) FROM deliveries WHERE state < 2 AND recipient = :recipient AND ready_at > 0),
       EXISTS (SELECT 1 FROM deliveries WHERE state < 2 AND expires_at IS NOT NULL AND expires_at <= :now
                  AND lease IS NULL);

-- release_due --
-- Make ready what a recipient's delay or lease held back until now; what a lease held at its last attempt is dead.
UPDATE deliveries
   SET state = CASE WHEN lease IS NOT NULL AND attempts >= max_attempts THEN 4 ELSE state END,
       finished_at = CASE WHEN lease IS NOT NULL AND attempts >= max_attempts THEN ready_at END,
       reason = CASE WHEN lease IS NOT NULL AND attempts >= max_attempts
                     THEN 'attempt ' || attempts || ' of ' || max_attempts || ' ended without an ack: its lease ran out'
                     ELSE reason END,
       ready_at = 0, lease = NULL
 WHERE state < 2 AND recipient = :recipient AND ready_at > 0 AND ready_at <= :now
RETURNING id, state;

-- expire --
-- Mark up to :max deliveries that nobody took in time; what is leased is left until its lease has been ended.
UPDATE deliveries SET state = 3, ready_at = 0, finished_at = :now
 WHERE id IN (SELECT id FROM deliveries
               WHERE state < 2 AND expires_at IS NOT NULL AND expires_at <= :now AND lease IS NULL
               LIMIT :max)
RETURNING id;

-- withdraw --
-- Let a message expire that its sender waits for no longer: at once, or when the lease under which it is ends.
UPDATE deliveries NOT INDEXED
   SET state = CASE WHEN lease IS NULL THEN 3 ELSE state END, ready_at = CASE WHEN lease IS NULL THEN 0 ELSE ready_at END,
       finished_at = CASE WHEN lease IS NULL THEN :now END, expires_at = :now
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND state < 2;

-- withdraw_message --
-- Let nobody answer a message that its sender waits for no longer.
UPDATE messages SET expires_at = :now WHERE id = :message_id;

-- get_undelivered --
-- What the sender of a message is told of a delivery that has expired or died.
SELECT m.id, m.sender, m.type, m.urgency, m.report, d.recipient, d.state, d.attempts, d.reason, @inherited
  FROM deliveries AS d
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.id = :delivery_id;

-- recipients_with_mail --
-- Everyone who has unfinished mail, with the time at which the next delay or lease of theirs ends.
WITH RECURSIVE open (recipient) AS (
    SELECT min(recipient) FROM deliveries WHERE state < 2
     UNION ALL
    SELECT (SELECT min(d.recipient) FROM deliveries AS d WHERE d.state < 2 AND d.recipient > open.recipient)
      FROM open WHERE open.recipient IS NOT NULL)
SELECT recipient,
       (SELECT min(d.ready_at) FROM deliveries AS d
         WHERE d.state < 2 AND d.recipient = open.recipient AND d.ready_at > 0)
  FROM open WHERE recipient IS NOT NULL;

-- next_expiry --
-- The next time at which an unfinished delivery expires that is in nobody's hands.
SELECT expires_at FROM deliveries
 WHERE state < 2 AND expires_at IS NOT NULL AND lease IS NULL
 ORDER BY expires_at LIMIT 1;

-- next_ready --
-- The next ready messages of one recipient, by urgency, then id.
SELECT @delivery
  FROM deliveries AS d
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.state < 2 AND d.recipient = :recipient AND d.ready_at = 0 AND (d.expires_at IS NULL OR d.expires_at > :now)
 ORDER BY d.urgency, d.id LIMIT :max;

-- prefetch --
-- Lease up to :max ready deliveries of one recipient until :until, by urgency, then id; no attempt is counted yet.
UPDATE deliveries SET ready_at = :until, lease = :lease
 WHERE id IN (SELECT id FROM deliveries
               WHERE state < 2 AND recipient = :recipient AND ready_at = 0 AND (expires_at IS NULL OR expires_at > :now)
               ORDER BY urgency, id LIMIT :max);

-- claim --
-- Lease up to :max ready deliveries as `prefetch` does, and count the attempt: they are in their consumer's hands.
UPDATE deliveries
   SET ready_at = :until, lease = :lease, state = 1, attempts = attempts + 1, delivered_at = coalesce(delivered_at, :now)
 WHERE id IN (SELECT id FROM deliveries
               WHERE state < 2 AND recipient = :recipient AND ready_at = 0 AND (expires_at IS NULL OR expires_at > :now)
               ORDER BY urgency, id LIMIT :max);

-- renew --
-- Lease until :until, or for as long as it was, what a lease still holds.
UPDATE deliveries SET ready_at = max(ready_at, :until)
 WHERE state < 2 AND recipient = :recipient AND ready_at > 0 AND lease = :lease
RETURNING id >> 20;

-- list_leased --
-- The messages that a lease still holds.
SELECT id >> 20 FROM deliveries WHERE state < 2 AND recipient = :recipient AND ready_at > 0 AND lease = :lease;

-- consume --
-- Ack a delivery as it is handed out, unless it is no longer under this lease (NULL: none) or its time has ended.
UPDATE deliveries NOT INDEXED
   SET state = 2, lease = NULL, ready_at = 0, attempts = attempts + 1, finished_at = :now,
       delivered_at = coalesce(delivered_at, :now)
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient
   AND state < 2 AND lease IS :lease AND (expires_at IS NULL OR expires_at > :now);

-- release --
-- Make ready again what a lease still holds; at its last attempt it is dead instead.
UPDATE deliveries
   SET state = CASE WHEN attempts >= max_attempts THEN 4 ELSE state END,
       finished_at = CASE WHEN attempts >= max_attempts THEN :now END,
       reason = CASE WHEN attempts >= max_attempts
                     THEN 'attempt ' || attempts || ' of ' || max_attempts || ' ended without an ack: it was given back'
                     ELSE reason END,
       ready_at = 0, lease = NULL
 WHERE state < 2 AND recipient = :recipient AND ready_at > 0 AND lease = :lease
RETURNING id, state;

-- release_one --
-- End the lease of one delivery, if it is still this one.
UPDATE deliveries NOT INDEXED SET ready_at = 0, lease = NULL
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient
   AND state < 2 AND lease = :lease;

-- ack --
-- Finish one recipient's delivery, unless it is finished; with :lease, only if no other lease holds it now.
UPDATE deliveries NOT INDEXED
   SET state = 2, lease = :lease, ready_at = 0, finished_at = :now, delivered_at = coalesce(delivered_at, :now)
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient AND state < 2
   AND (:lease IS NULL OR lease IS NULL OR lease = :lease OR ready_at <= :now);

-- nack --
-- Give one delivery back, ready at :ready_at; at its last attempt it is dead. With :lease as `ack`.
UPDATE deliveries NOT INDEXED
   SET state = CASE WHEN attempts >= max_attempts THEN 4 ELSE state END,
       finished_at = CASE WHEN attempts >= max_attempts THEN :now END,
       ready_at = CASE WHEN attempts >= max_attempts THEN 0 ELSE :ready_at END,
       reason = coalesce(:reason, CASE WHEN attempts >= max_attempts
                                       THEN 'attempt ' || attempts || ' of ' || max_attempts || ' was nacked'
                                       ELSE reason END),
       lease = NULL
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient AND state < 2
   AND (:lease IS NULL OR lease IS NULL OR lease = :lease OR ready_at <= :now)
RETURNING id, state;

-- extend --
-- Let a lease end at :until; with :lease, only if it is still that one.
UPDATE deliveries NOT INDEXED SET ready_at = :until
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient AND state < 2
   AND lease IS NOT NULL AND lease = coalesce(:lease, lease);

-- recipients_of --
-- The recipients of one message.
SELECT recipient FROM deliveries
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 ORDER BY id;

-- receipts_of --
-- How far the deliveries of one message have come; of one recipient where :recipient is given.
SELECT recipient, state, attempts, max_attempts, ready_at, lease, delivered_at, finished_at, expires_at, reason
  FROM deliveries
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND (:recipient IS NULL OR recipient = :recipient)
 ORDER BY id;

-- get_delivery --
-- One message as one of its recipients sees it.
SELECT @delivery
  FROM messages AS m
  JOIN deliveries AS d ON d.id >= m.id << 20 AND d.id < (m.id + 1) << 20 AND d.recipient = :recipient
 WHERE m.id = :message_id;

-- get_message --
-- One message as a whole.
SELECT @whole
  FROM log WHERE id = :message_id;

-- log_after --
-- Messages as a whole from an id on, in order; from or to some addresses (a JSON array) where :addresses is given.
SELECT @whole
  FROM log
 WHERE id >= :from_id
   AND (:addresses IS NULL OR sender IN (SELECT value FROM json_each(:addresses))
        OR EXISTS (SELECT 1 FROM deliveries AS d
                    WHERE d.id >= log.id << 20 AND d.id < (log.id + 1) << 20
                      AND d.recipient IN (SELECT value FROM json_each(:addresses))))
 ORDER BY id LIMIT :max;

-- log_correlated --
-- The messages of one correlation id as a whole, in order; from or to some addresses where :addresses is given.
SELECT @whole
  FROM log
 WHERE correlation_id = :correlation_id
   AND (:addresses IS NULL OR sender IN (SELECT value FROM json_each(:addresses))
        OR EXISTS (SELECT 1 FROM deliveries AS d
                    WHERE d.id >= log.id << 20 AND d.id < (log.id + 1) << 20
                      AND d.recipient IN (SELECT value FROM json_each(:addresses))))
 ORDER BY id LIMIT :max;

-- log_of_task --
-- The messages of one task id as a whole, in order; from or to some addresses where :addresses is given.
SELECT @whole
  FROM log
 WHERE task_id = :task_id
   AND (:addresses IS NULL OR sender IN (SELECT value FROM json_each(:addresses))
        OR EXISTS (SELECT 1 FROM deliveries AS d
                    WHERE d.id >= log.id << 20 AND d.id < (log.id + 1) << 20
                      AND d.recipient IN (SELECT value FROM json_each(:addresses))))
 ORDER BY id LIMIT :max;

-- thread --
-- The messages that one is part of by `reply_to`, up and down, as a whole, in order; of some addresses as above.
WITH RECURSIVE above (id) AS (
    SELECT :message_id
     UNION
    SELECT m.reply_to FROM above JOIN messages AS m ON m.id = above.id WHERE m.reply_to IS NOT NULL),
below (id) AS (
    SELECT id FROM above
     UNION
    SELECT m.id FROM below JOIN messages AS m ON m.reply_to = below.id)
SELECT @whole
  FROM log
 WHERE id IN (SELECT id FROM below)
   AND (:addresses IS NULL OR sender IN (SELECT value FROM json_each(:addresses))
        OR EXISTS (SELECT 1 FROM deliveries AS d
                    WHERE d.id >= log.id << 20 AND d.id < (log.id + 1) << 20
                      AND d.recipient IN (SELECT value FROM json_each(:addresses))))
 ORDER BY id LIMIT :max;

-- dead_letters --
-- The dead, in the order of their messages; of one recipient where :recipient is given.
SELECT @delivery
  FROM deliveries AS d INDEXED BY deliveries_dead
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.state = 4 AND (:recipient IS NULL OR d.recipient = :recipient)
 ORDER BY d.id LIMIT :max;

-- count_dead --
-- How many deliveries are dead.
SELECT count(*) FROM deliveries INDEXED BY deliveries_dead WHERE state = 4;

-- requeue --
-- Revive the dead of one message, with all their attempts before them, unless their time has run out.
UPDATE deliveries NOT INDEXED
   SET state = 0, attempts = 0, ready_at = 0, delivered_at = NULL, finished_at = NULL
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND (:recipient IS NULL OR recipient = :recipient)
   AND state = 4 AND (expires_at IS NULL OR expires_at > :now)
RETURNING recipient;

-- dead_after --
-- The next of the dead after a delivery's id, of one recipient where :recipient is given: delivery and message.
SELECT id, id >> 20 FROM deliveries INDEXED BY deliveries_dead
 WHERE state = 4 AND (:recipient IS NULL OR recipient = :recipient) AND id > :after ORDER BY id LIMIT :max;

-- expire_newest_dead --
-- Turn one of the dead into one that has expired, if its message is the newest.
UPDATE deliveries SET state = 3 WHERE id = :delivery_id AND state = 4 AND id >> 20 = (SELECT max(id) FROM messages);

-- delete_dead --
-- Drop one of the dead.
DELETE FROM deliveries WHERE id = :delivery_id AND state = 4;

-- delete_orphan --
-- Drop a message of which no delivery is left.
DELETE FROM messages
 WHERE id = :message_id
   AND NOT EXISTS (SELECT 1 FROM deliveries AS d
                    WHERE d.id >= :message_id << 20 AND d.id < (:message_id + 1) << 20);

-- last_message_id --
-- The newest message's id, 0 on an empty bus.
SELECT coalesce(max(id), 0) FROM messages;

-- last_delivery_id --
-- The newest delivery's id, 0 on an empty bus.
SELECT coalesce(max(id), 0) FROM deliveries;

-- new_recipients_after --
-- Recipients of new deliveries that nobody has looked at yet.
SELECT DISTINCT recipient FROM deliveries WHERE id > :delivery_id AND state = 0 AND lease IS NULL;

-- backlog --
-- Unfinished deliveries by recipient: how many, and the id of the oldest.
SELECT recipient, count(*), min(id) >> 20 FROM deliveries
 WHERE state < 2 AND (expires_at IS NULL OR expires_at > :now) GROUP BY recipient ORDER BY recipient;

-- prunable_span --
-- How many messages are older than a time, and the newest of them; the newest of all is never among them.
SELECT count(*), max(id) FROM messages WHERE created_at < :before AND id < (SELECT max(id) FROM messages);

-- prunable_batch --
-- The next old messages after an id of which no delivery is unfinished or dead.
SELECT m.id, length(m.body) FROM messages AS m
 WHERE m.id > :after AND m.id <= :upto AND m.created_at < :before
   AND NOT EXISTS (SELECT 1 FROM deliveries AS d
                    WHERE d.id >= m.id << 20 AND d.id < (m.id + 1) << 20 AND (d.state < 2 OR d.state = 4))
 ORDER BY m.id LIMIT :max;

-- retention_span --
-- The oldest message, when it was sent, and the newest.
SELECT id, created_at, (SELECT max(id) FROM messages) FROM messages ORDER BY id LIMIT 1;

-- retention_window --
-- The end of the next so many messages after an id.
SELECT max(id) FROM (SELECT id FROM messages WHERE id > :after ORDER BY id LIMIT :rows);

-- retention_batch --
-- The next messages of such a window beyond the limits of retention, of which no delivery is unfinished or dead.
SELECT m.id FROM messages AS m
 WHERE m.id > :after AND m.id <= :window AND m.id < (SELECT max(id) FROM messages)
   AND (m.id <= :upto OR m.created_at < :before)
   AND NOT EXISTS (SELECT 1 FROM deliveries AS d
                    WHERE d.id >= m.id << 20 AND d.id < (m.id + 1) << 20 AND (d.state < 2 OR d.state = 4))
 ORDER BY m.id LIMIT :max;

-- retention_has_more --
-- Whether the next message after an id is beyond the limits of retention.
SELECT EXISTS (SELECT 1 FROM messages
                WHERE id = (SELECT min(id) FROM messages WHERE id > :window) AND (id <= :upto OR created_at < :before));

-- meta_value --
-- What is noted about the file under a key.
SELECT value FROM meta WHERE key = :key;

-- set_meta --
-- Note something about the file under a key.
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- delete_deliveries --
-- Drop all deliveries of one message.
DELETE FROM deliveries WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20;

-- delete_message --
-- Drop one message.
DELETE FROM messages WHERE id = :message_id;

-- unacked_by_recipient --
-- What is unfinished by recipient, as time has left it: ready, delayed, leased, dead of its last lease; the oldest ready
-- delivery, and when it was sent. Only for what is held back or has a time to expire is more read than the index.
SELECT recipient, ready, delayed, leased, dead, oldest, (SELECT created_at FROM messages AS m WHERE m.id = oldest >> 20)
  FROM (SELECT recipient,
               count(*) FILTER (WHERE hold = 'ready') AS ready,
               count(*) FILTER (WHERE hold = 'delayed') AS delayed,
               count(*) FILTER (WHERE hold = 'leased') AS leased,
               count(*) FILTER (WHERE hold = 'dead') AS dead,
               min(id) FILTER (WHERE hold = 'ready') AS oldest
          FROM (SELECT id, recipient,
                       CASE WHEN ready_at = 0 THEN 'ready'
                            WHEN ready_at > :now THEN CASE WHEN lease IS NULL THEN 'delayed' ELSE 'leased' END
                            WHEN lease IS NOT NULL AND attempts >= max_attempts THEN 'dead'
                            ELSE 'ready' END AS hold
                  FROM deliveries
                 WHERE state < 2
                   AND id NOT IN (SELECT e.id FROM deliveries AS e
                                   WHERE e.state < 2 AND e.expires_at IS NOT NULL AND e.expires_at <= :now
                                     AND (e.lease IS NULL OR e.ready_at <= :now AND e.attempts < e.max_attempts)))
         GROUP BY recipient);

-- dead_by_recipient --
-- How many deliveries to each recipient have died.
SELECT recipient, count(*) FROM deliveries INDEXED BY deliveries_dead WHERE state = 4 GROUP BY recipient;

-- newest_timestamps --
-- The latest times in the file: when a message was sent, an address seen, what is leased handed out; when a lease ends.
SELECT (SELECT max(created_at) FROM (SELECT created_at FROM messages ORDER BY id DESC LIMIT 1000)),
       (SELECT max(last_seen) FROM identities),
       (SELECT max(delivered_at) FROM deliveries WHERE state < 2 AND ready_at > 0 AND lease IS NOT NULL),
       (SELECT max(ready_at) FROM deliveries WHERE state < 2 AND ready_at > 0 AND lease IS NOT NULL);

-- sample_before --
-- The newest deliveries before an id, the newest first: whose, and when they were sent, first delivered, and acked.
SELECT d.id, d.recipient, m.created_at, d.delivered_at, CASE d.state WHEN 2 THEN d.finished_at END
  FROM deliveries AS d NOT INDEXED
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.id < :before ORDER BY d.id DESC LIMIT :max;

-- retried_by_attempt --
-- Unfinished deliveries that are at their second attempt or a later one, by attempt.
SELECT attempts, count(*) FROM deliveries
 WHERE state < 2 AND attempts > 1
   AND (expires_at IS NULL OR expires_at > :now OR lease IS NOT NULL AND ready_at > :now)
   AND (lease IS NULL OR ready_at > :now OR attempts < max_attempts)
 GROUP BY attempts ORDER BY attempts;

-- count_messages --
-- The next :max messages after an id: how many there are, and the last of them.
SELECT count(*), max(id) FROM (SELECT id FROM messages WHERE id > :after ORDER BY id LIMIT :max);

-- count_deliveries --
-- The next :max deliveries after an id: how many there are, the last of them, and how many are in each state by now.
SELECT count(*), max(id),
       count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 2),
       count(*) FILTER (WHERE state = 3), count(*) FILTER (WHERE state = 4)
  FROM (SELECT id,
               CASE WHEN state > 1 THEN state
                    WHEN lease IS NOT NULL AND ready_at <= :now AND attempts >= max_attempts THEN 4
                    WHEN expires_at <= :now AND (lease IS NULL OR ready_at <= :now) THEN 3
                    ELSE state END AS state
          FROM deliveries NOT INDEXED WHERE id > :after ORDER BY id LIMIT :max);
