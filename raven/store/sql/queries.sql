-- Every statement of raven, by name: a heading `-- name --`, a description, the statement.
-- Reads and writes of messages name each column, so that a later raven can add a column while this one runs.
-- sql/__init__.py inserts the column lists of MessageRow. @columns and @values are those of an INSERT. @delivery reads
-- `messages AS m` with `deliveries AS d`, and @whole the view `log`. A reply inherits the columns of `messages AS m`
-- in @inherited.
-- A request `messages AS m` is open until it expires or is withdrawn (expires_at), or one of its recipients has answered.
-- For the clients of a bound socket, sql/__init__.py makes from each statement that reads `log` a second one,
-- `scoped_...`, that reads `scoped_log` instead, with the fragments `@...` below. :scope is a JSON array of addresses.
-- NOT INDEXED keeps the planner on the range of ids; an index on unfinished deliveries would walk a whole backlog.
-- The index deliveries_open begins with `leased`: a search by recipient names it, for leased deliveries or for others.
-- A delivery that is held for another host is leased until @held, under the lease of that host.

-- @visible --
-- Whether `messages AS m` is from or to an address of :scope.
(m.sender IN @scope OR EXISTS (SELECT 1 FROM @first) OR EXISTS (SELECT 1 FROM @other))

-- @seen --
-- The deliveries of `messages AS m` that :scope may see: its own, or all if the message is from an address of it.
(SELECT * FROM @first AND m.sender NOT IN @scope
  UNION ALL
 SELECT * FROM @other AND m.sender NOT IN @scope
  UNION ALL
 SELECT * FROM deliveries AS d
  WHERE d.id >= m.id << 20 AND d.id < CASE WHEN m.sender IN @scope THEN (m.id + 1) << 20 ELSE 0 END)

-- @first --
-- The deliveries to :scope among the first two of `messages AS m`.
deliveries AS d WHERE d.id >= m.id << 20 AND d.id < (m.id << 20) + 2 AND d.recipient IN @scope

-- @other --
-- The other deliveries to :scope; an index finds them.
deliveries AS d INDEXED BY deliveries_wide
 WHERE d.id & 1048575 >= 2 AND d.recipient IN @scope AND d.id >= m.id << 20 AND d.id < (m.id + 1) << 20

-- @owed --
-- Whether another host has yet to confirm `messages AS m`, or the last news of it, or must still hear of it. If it were
-- deleted then, the other host would not learn its end, or would bring it a second time.
(EXISTS (SELECT 1 FROM link_out AS o WHERE o.message_id = m.id)
        OR EXISTS (SELECT 1 FROM link_news AS n WHERE n.delivery_id >= m.id << 20 AND n.delivery_id < (m.id + 1) << 20)
        OR EXISTS (SELECT 1 FROM link_in AS i
                     JOIN link_hosts AS h ON h.host = substr(i.origin, 1, instr(i.origin, '/') - 1)
                    WHERE i.message_id = m.id AND i.news > h.confirmed))

-- @receipt --
-- The columns of a receipt of `deliveries AS d`, see `receipt_of`.
d.recipient, d.state, d.attempts, d.max_attempts, d.ready_at, d.lease, d.delivered_at, d.finished_at, d.expires_at,
       d.reason, @host

-- @host --
-- The host that holds `deliveries AS d`, or at which it was finished; NULL for every other delivery.
CASE WHEN d.lease IS NOT NULL AND (d.ready_at = @held OR d.state > 1)
            THEN (SELECT h.host FROM link_hosts AS h WHERE h.lease = d.lease) END

-- @scope --
-- The addresses of :scope.
(SELECT value FROM json_each(:scope))

-- @agent --
-- The columns of a session of an agent, in the order of Agent.
host, native_id, address, pid, started, cwd, about, state, has_hooks, bound_at, seen_at, space;

-- @involved --
-- Whether a message of `log` is from or to an address of the JSON array :addresses; if that is NULL, each one is.
(:addresses IS NULL OR sender IN (SELECT value FROM json_each(:addresses))
        OR EXISTS (SELECT 1 FROM deliveries AS d
                    WHERE d.id >= log.id << 20 AND d.id < (log.id + 1) << 20
                      AND d.recipient IN (SELECT value FROM json_each(:addresses))))

-- insert_message --
-- Insert one message; its rowid is its id.
INSERT INTO messages (@columns) VALUES (@values);

-- insert_delivery --
-- Insert one recipient's delivery; `ordinal` counts the recipients of the message from 0.
INSERT INTO deliveries (id, recipient, urgency, ready_at, expires_at, max_attempts)
VALUES ((:message_id << 20) + :ordinal, :recipient, :urgency, :ready_at, :expires_at, :max_attempts);

-- find_duplicate --
-- The id of the sender's earlier message with the same dedup_key.
SELECT id FROM messages WHERE sender = :sender AND dedup_key = :dedup_key;

-- matching_addresses --
-- The registered addresses that match a broadcast pattern; never a private reply address.
SELECT address FROM identities
 WHERE (:role = '*' OR role = :role) AND (:session = '*' OR session = :session) AND NOT (@private)
 ORDER BY address;

-- upsert_identity --
-- Register an address, or update its last_seen; it is an address of this host from now on.
INSERT INTO identities (address, role, session, registered_at, last_seen)
VALUES (:address, :role, :session, :now, :now)
ON CONFLICT (address) DO UPDATE SET last_seen = excluded.last_seen, host = NULL;

-- unseen_identities --
-- Up to :max registered addresses of this host that no client has used since :before.
SELECT address FROM identities WHERE last_seen < :before AND host IS NULL ORDER BY last_seen LIMIT :max;

-- mark_seen --
-- Update the last_seen of an address that is in use.
UPDATE identities SET last_seen = :now WHERE address = :address AND last_seen < :now;

-- delete_unseen_identity --
-- Unregister an address, unless a client has used it since :before.
DELETE FROM identities WHERE address = :address AND last_seen < :before;

-- delete_identities --
-- Unregister up to :max addresses that match an address or a pattern.
DELETE FROM identities
 WHERE address IN (SELECT address FROM identities
                    WHERE (:role = '*' OR role = :role) AND (:session = '*' OR session = :session) LIMIT :max);

-- holds_lease --
-- Whether a lease holds any delivery to an address.
SELECT EXISTS (SELECT 1 FROM deliveries WHERE state < 2 AND leased = 1 AND recipient = :recipient);

-- recipients_matching --
-- Up to :max addresses after :after that match a pattern and have unfinished deliveries, those under a lease or the
-- others. A private reply address, `role+<16 hexadecimal digits>:session`, matches no pattern.
WITH RECURSIVE open (recipient) AS (
    SELECT min(recipient) FROM deliveries WHERE state < 2 AND leased = :leased AND recipient > :after
     UNION ALL
    SELECT (SELECT min(d.recipient) FROM deliveries AS d
             WHERE d.state < 2 AND d.leased = :leased AND d.recipient > open.recipient)
      FROM open WHERE open.recipient IS NOT NULL)
SELECT recipient FROM open
 WHERE recipient IS NOT NULL
   AND (:role = '*' OR substr(recipient, 1, instr(recipient, ':') - 1) = :role)
   AND (:session = '*' OR substr(recipient, instr(recipient, ':') + 1) = :session)
   AND recipient NOT GLOB '*+' || replace(hex(zeroblob(8)), '0', '[0-9a-f]') || ':*'
 LIMIT :max;

-- shorten_lives --
-- Let up to :max unfinished deliveries of one recipient expire :life after their send, or now if that is past. With
-- :is_own, the deliveries that another host holds stay.
UPDATE deliveries
   SET expires_at = (SELECT min(:now + :life, max(:now, m.created_at + :life)) FROM messages AS m
                      WHERE m.id = deliveries.id >> 20)
 WHERE id IN (SELECT d.id FROM deliveries AS d
               WHERE d.state < 2 AND d.leased IN (0, 1) AND d.recipient = :recipient
                 AND (d.expires_at IS NULL OR d.expires_at > :now + :life) AND NOT (:is_own AND d.ready_at = @held)
               LIMIT :max);

-- expire_older --
-- Let up to :max unfinished deliveries after an id expire now whose messages were sent before :before, except requests
-- whose senders still wait.
UPDATE deliveries SET expires_at = :now
 WHERE id IN (SELECT d.id FROM deliveries AS d NOT INDEXED
                JOIN messages AS m ON m.id = d.id >> 20
               WHERE d.id > :after AND d.id < :upto AND d.state < 2 AND (d.expires_at IS NULL OR d.expires_at > :now)
                 AND m.created_at < :before AND NOT (m.reply_address IS NOT NULL AND m.expires_at > :now)
               ORDER BY d.id LIMIT :max)
RETURNING id;

-- count_older --
-- The number of deliveries that `expire_older` would let expire.
SELECT count(*) FROM deliveries AS d
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.state < 2 AND (d.expires_at IS NULL OR d.expires_at > :now)
   AND m.created_at < :before AND NOT (m.reply_address IS NOT NULL AND m.expires_at > :now);

-- list_identities --
-- Every registered address, with its host if that is another; only the addresses of one session if :session is given.
SELECT address, registered_at, last_seen, host FROM identities
 WHERE :session IS NULL OR session = :session
 ORDER BY session, role;

-- get_agent --
-- The session of a program by its id.
SELECT @agent FROM raven_agents WHERE host = :host AND native_id = :native_id;

-- agents_at --
-- The sessions of agents that have an address.
SELECT @agent FROM raven_agents WHERE address = :address;

-- agents_unseen --
-- The sessions of agents without a sign of life since :before.
SELECT @agent FROM raven_agents WHERE seen_at < :before;

-- list_agents --
-- All sessions of agents.
SELECT @agent FROM raven_agents;

-- is_address_known --
-- Whether an address is registered or has unfinished mail.
SELECT EXISTS (SELECT 1 FROM identities WHERE address = :address)
    OR EXISTS (SELECT 1 FROM deliveries WHERE state < 2 AND leased IN (0, 1) AND recipient = :address);

-- bind_agent --
-- Give an address to a session. In the same process it keeps what its hooks have told.
INSERT INTO raven_agents (host, native_id, address, pid, started, cwd, about, bound_at, seen_at, space)
VALUES (:host, :native_id, :address, :pid, :started, :cwd, :about, :now, :now, :space)
ON CONFLICT (host, native_id) DO UPDATE
   SET address = excluded.address, cwd = excluded.cwd, about = coalesce(excluded.about, about),
       state = CASE WHEN pid = excluded.pid AND started = excluded.started THEN state END,
       has_hooks = CASE WHEN pid = excluded.pid AND started = excluded.started THEN has_hooks END,
       pid = excluded.pid, started = excluded.started, space = excluded.space,
       bound_at = excluded.bound_at, seen_at = excluded.seen_at;

-- note_agent --
-- Update the presence of a session, unless it runs in another process than :pid (NULL: in any).
UPDATE raven_agents
   SET state = coalesce(:state, state), has_hooks = coalesce(:has_hooks, has_hooks), seen_at = :now
 WHERE host = :host AND native_id = :native_id AND (:pid IS NULL OR (pid = :pid AND started = :started));

-- end_agent --
-- End a session, unless it runs in another process than :pid (NULL: in any).
UPDATE raven_agents SET pid = NULL, started = NULL, state = NULL, seen_at = :now
 WHERE host = :host AND native_id = :native_id AND (:pid IS NULL OR (pid = :pid AND started = :started));

-- delete_agent --
-- Forget a session.
DELETE FROM raven_agents WHERE host = :host AND native_id = :native_id;

-- mute --
-- Mute an address.
INSERT INTO raven_mutes (address, muted_at) VALUES (:address, :now) ON CONFLICT DO NOTHING;

-- unmute --
-- End the muting of an address.
DELETE FROM raven_mutes WHERE address = :address;

-- list_mutes --
-- The muted addresses.
SELECT address FROM raven_mutes;

-- list_unacked --
-- A recipient's ready or leased deliveries, by urgency, then id; none that another host holds.
SELECT @delivery
  FROM (SELECT * FROM (SELECT id, urgency FROM deliveries
                        WHERE state < 2 AND leased = 0 AND recipient = :recipient AND ready_at = 0
                          AND (expires_at IS NULL OR expires_at > :now)
                        ORDER BY urgency, id LIMIT :max)
         UNION ALL
        SELECT id, urgency FROM deliveries
         WHERE state < 2 AND leased = 0 AND recipient = :recipient AND ready_at > 0 AND ready_at <= :now
           AND (expires_at IS NULL OR expires_at > :now)
         UNION ALL
        SELECT id, urgency FROM deliveries
         WHERE state < 2 AND leased = 1 AND recipient = :recipient AND ready_at < @held
           AND (expires_at IS NULL OR expires_at > :now)) AS open
  JOIN deliveries AS d ON d.id = open.id
  JOIN messages AS m ON m.id = d.id >> 20
 ORDER BY open.urgency, open.id LIMIT :max;

-- list_waiting --
-- A recipient's ready deliveries without their bodies, by urgency, then id; none under a lease.
SELECT m.id, m.sender, m.type, open.urgency, open.state
  FROM (SELECT * FROM (SELECT id, urgency, state FROM deliveries
                        WHERE state < 2 AND leased = 0 AND recipient = :recipient AND ready_at = 0
                          AND (expires_at IS NULL OR expires_at > :now)
                        ORDER BY urgency, id LIMIT :max)
         UNION ALL
        SELECT id, urgency, state FROM deliveries
         WHERE state < 2 AND leased = 0 AND recipient = :recipient AND ready_at > 0 AND ready_at <= :now
           AND (expires_at IS NULL OR expires_at > :now)) AS open
  JOIN messages AS m ON m.id = open.id >> 20
 ORDER BY open.urgency, m.id LIMIT :max;

-- thread_depth --
-- How many messages came before one in its thread, one after the other and all after :since; :max at most.
WITH RECURSIVE earlier (id, depth) AS (
    SELECT reply_to, 0 FROM messages WHERE id = :message_id
     UNION ALL
    SELECT m.reply_to, earlier.depth + 1
      FROM earlier
      JOIN messages AS m ON m.id = earlier.id
     WHERE m.created_at >= :since AND earlier.depth < :max)
SELECT max(depth) FROM earlier;

-- mark_delivered --
-- Mark a delivery as seen by its recipient for the first time.
UPDATE deliveries NOT INDEXED SET state = 1, delivered_at = :now
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient AND state = 0;

-- peek_ready --
-- A recipient's queue: whether any delivery is ready, when the next delay or lease ends, whether any mail expired. No
-- timer ends a hold, and so @held stands for none.
SELECT EXISTS (SELECT 1 FROM deliveries WHERE state < 2 AND leased = 0 AND recipient = :recipient AND ready_at = 0),
       nullif(min(
         coalesce((SELECT min(ready_at) FROM deliveries
                    WHERE state < 2 AND leased = 0 AND recipient = :recipient AND ready_at > 0), @held),
         coalesce((SELECT min(ready_at) FROM deliveries
                    WHERE state < 2 AND leased = 1 AND recipient = :recipient AND ready_at > 0), @held)), @held),
       EXISTS (SELECT 1 FROM deliveries WHERE state < 2 AND expires_at IS NOT NULL AND expires_at <= :now
                  AND lease IS NULL);

-- release_due --
-- Release up to :max of a recipient's deliveries whose delay or lease has ended; after the last attempt it is dead.
UPDATE deliveries
   SET state = CASE WHEN lease IS NOT NULL AND attempts >= max_attempts THEN 4 ELSE state END,
       finished_at = CASE WHEN lease IS NOT NULL AND attempts >= max_attempts THEN ready_at END,
       reason = CASE WHEN lease IS NOT NULL AND attempts >= max_attempts
                     THEN 'attempt ' || attempts || ' of ' || max_attempts || ' ended without an ack: its lease ran out'
                     ELSE reason END,
       ready_at = 0, lease = NULL
 WHERE id IN (SELECT id FROM deliveries
               WHERE state < 2 AND leased IN (0, 1) AND recipient = :recipient AND ready_at > 0 AND ready_at <= :now
               LIMIT :max)
RETURNING id, state;

-- expire --
-- Mark up to :max unleased deliveries past their expiry as expired; a leased one waits for the end of its lease.
UPDATE deliveries SET state = 3, ready_at = 0, finished_at = :now
 WHERE id IN (SELECT id FROM deliveries
               WHERE state < 2 AND expires_at IS NOT NULL AND expires_at <= :now AND lease IS NULL
               LIMIT :max)
RETURNING id;

-- withdraw --
-- Expire the deliveries of a withdrawn request: at once, or at the end of a lease.
UPDATE deliveries NOT INDEXED
   SET state = CASE WHEN lease IS NULL THEN 3 ELSE state END, ready_at = CASE WHEN lease IS NULL THEN 0 ELSE ready_at END,
       finished_at = CASE WHEN lease IS NULL THEN :now END, expires_at = :now
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND state < 2;

-- withdraw_message --
-- Let a withdrawn request expire now, so that a reply is refused.
UPDATE messages SET expires_at = :now WHERE id = :message_id AND reply_address = :reply_address;

-- get_undelivered --
-- The content of the report to a sender about one expired or dead delivery.
SELECT m.id, m.sender, m.type, m.urgency, m.report, d.recipient, d.state, d.attempts, d.reason, @inherited
  FROM deliveries AS d
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.id = :delivery_id;

-- release_delayed --
-- Make up to :max deliveries of all recipients ready whose delay has ended.
UPDATE deliveries SET ready_at = 0
 WHERE id IN (SELECT id FROM deliveries
               WHERE state < 2 AND ready_at > 0 AND ready_at <= :now AND lease IS NULL LIMIT :max)
RETURNING recipient;

-- recipients_with_ended_leases --
-- Up to :max recipients with a lease that has ended; reads one index entry per recipient with leased deliveries.
WITH RECURSIVE holder (recipient) AS (
    SELECT min(recipient) FROM deliveries WHERE state < 2 AND leased = 1
     UNION ALL
    SELECT (SELECT min(d.recipient) FROM deliveries AS d
             WHERE d.state < 2 AND d.leased = 1 AND d.recipient > holder.recipient)
      FROM holder WHERE holder.recipient IS NOT NULL)
SELECT recipient FROM holder
 WHERE recipient IS NOT NULL
   AND (SELECT min(d.ready_at) FROM deliveries AS d
         WHERE d.state < 2 AND d.leased = 1 AND d.recipient = holder.recipient AND d.ready_at > 0) <= :now
 LIMIT :max;

-- has_due_timer --
-- Whether the delay of any delivery has ended, or its time; and whether the change log has: its end is not before
-- :latest if the clock was set back.
SELECT EXISTS (SELECT 1 FROM deliveries WHERE state < 2 AND ready_at > 0 AND ready_at <= :now AND lease IS NULL),
       EXISTS (SELECT 1 FROM deliveries WHERE state < 2 AND expires_at IS NOT NULL AND expires_at <= :now
                  AND lease IS NULL),
       EXISTS (SELECT 1 FROM meta WHERE key = 'change_log_until'
                  AND CAST(value AS INTEGER) NOT BETWEEN :now + 1 AND :latest);

-- next_ready --
-- The next ready messages of one recipient, by urgency, then id.
SELECT @delivery
  FROM deliveries AS d
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.state < 2 AND d.leased = 0 AND d.recipient = :recipient AND d.ready_at = 0
   AND (d.expires_at IS NULL OR d.expires_at > :now)
 ORDER BY d.urgency, d.id LIMIT :max;

-- prefetch --
-- Lease up to :max ready deliveries of one recipient until :until, by urgency, then id; counts no attempt.
UPDATE deliveries SET ready_at = :until, lease = :lease
 WHERE id IN (SELECT id FROM deliveries
               WHERE state < 2 AND leased = 0 AND recipient = :recipient AND ready_at = 0
                 AND (expires_at IS NULL OR expires_at > :now)
               ORDER BY urgency, id LIMIT :max);

-- claim --
-- Lease deliveries as `prefetch` does, mark them as delivered, and count an attempt.
UPDATE deliveries
   SET ready_at = :until, lease = :lease, state = 1, attempts = attempts + 1, delivered_at = coalesce(delivered_at, :now)
 WHERE id IN (SELECT id FROM deliveries
               WHERE state < 2 AND leased = 0 AND recipient = :recipient AND ready_at = 0
                 AND (expires_at IS NULL OR expires_at > :now)
               ORDER BY urgency, id LIMIT :max);

-- claim_one --
-- Do as `claim` does for one message that is known to be ready. `id =`, here and below, because SQLite would collect
-- the ids of a range in a table of its own before the first UPDATE, once a trigger is on `deliveries`. And OR FAIL,
-- because SQLite would then also copy each page that it changes: raven itself undoes a write that fails.
UPDATE OR FAIL deliveries NOT INDEXED
   SET ready_at = :until, lease = :lease, state = 1, attempts = attempts + 1, delivered_at = coalesce(delivered_at, :now)
 WHERE id = (SELECT id FROM deliveries NOT INDEXED
             WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient
               AND state < 2 AND ready_at = 0 AND lease IS NULL);

-- renew --
-- Extend all deliveries of a lease to :until, unless they end later already; their messages and ends, as below.
UPDATE deliveries SET ready_at = max(ready_at, :until)
 WHERE state < 2 AND leased = 1 AND recipient = :recipient AND lease = :lease
RETURNING id >> 20, ready_at;

-- list_leased --
-- The messages of the deliveries that a lease still holds, and when it ends for each.
SELECT id >> 20, ready_at FROM deliveries
 WHERE state < 2 AND leased = 1 AND recipient = :recipient AND lease = :lease;

-- consume --
-- Ack a delivery and count an attempt, unless it has expired or another lease holds it (:lease NULL: unleased).
UPDATE OR FAIL deliveries NOT INDEXED
   SET state = 2, lease = NULL, ready_at = 0, attempts = attempts + 1, finished_at = :now,
       delivered_at = coalesce(delivered_at, :now)
 WHERE id = (SELECT id FROM deliveries NOT INDEXED
             WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient
               AND state < 2 AND lease IS :lease AND (expires_at IS NULL OR expires_at > :now));

-- release --
-- Release all deliveries of a lease; at the last attempt a delivery is dead.
UPDATE deliveries
   SET state = CASE WHEN attempts >= max_attempts THEN 4 ELSE state END,
       finished_at = CASE WHEN attempts >= max_attempts THEN :now END,
       reason = CASE WHEN attempts >= max_attempts
                     THEN 'attempt ' || attempts || ' of ' || max_attempts || ' ended without an ack: it was released'
                     ELSE reason END,
       ready_at = 0, lease = NULL
 WHERE state < 2 AND leased = 1 AND recipient = :recipient AND lease = :lease AND ready_at < @held
RETURNING id, state;

-- release_one --
-- Release one delivery if this lease still holds it.
UPDATE deliveries NOT INDEXED SET ready_at = 0, lease = NULL
 WHERE id = (SELECT id FROM deliveries NOT INDEXED
             WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient
               AND state < 2 AND lease = :lease);

-- ack --
-- Finish one recipient's unfinished delivery; with :lease, unless another lease holds it now.
UPDATE OR FAIL deliveries NOT INDEXED
   SET state = 2, lease = :lease, ready_at = 0, finished_at = :now, delivered_at = coalesce(delivered_at, :now)
 WHERE id = (SELECT id FROM deliveries NOT INDEXED
             WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient AND state < 2
               AND (:lease IS NULL OR lease IS NULL OR lease = :lease OR ready_at <= :now));

-- nack --
-- Release one delivery, ready at :ready_at; at the last attempt it is dead. :lease as for `ack`.
UPDATE deliveries NOT INDEXED
   SET state = CASE WHEN attempts >= max_attempts THEN 4 ELSE state END,
       finished_at = CASE WHEN attempts >= max_attempts THEN :now END,
       ready_at = CASE WHEN attempts >= max_attempts THEN 0 ELSE :ready_at END,
       reason = coalesce(:reason, CASE WHEN attempts >= max_attempts
                                       THEN 'attempt ' || attempts || ' of ' || max_attempts || ' was nacked'
                                       ELSE reason END),
       lease = NULL
 WHERE id = (SELECT id FROM deliveries NOT INDEXED
             WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient AND state < 2
               AND (:lease IS NULL OR lease IS NULL OR lease = :lease OR ready_at <= :now))
RETURNING id, state;

-- extend --
-- Let the lease of a delivery end at :until; with :lease, only if that lease still holds it. No consumer on this host
-- has the lease of another host.
UPDATE deliveries NOT INDEXED SET ready_at = :until
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient AND state < 2
   AND lease IS NOT NULL AND lease = coalesce(:lease, lease) AND ready_at < @held;

-- get_request --
-- Until when the sender of a request waits, and whether the request went to a recipient.
SELECT expires_at, EXISTS (SELECT 1 FROM deliveries
                            WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND recipient = :recipient)
  FROM messages WHERE id = :message_id;

-- recipients_of --
-- The recipients of one message.
SELECT recipient FROM deliveries
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 ORDER BY id;

-- receipts_of --
-- The receipts of one message; only of one recipient if :recipient is given.
SELECT @receipt
  FROM deliveries AS d
 WHERE d.id >= :message_id << 20 AND d.id < (:message_id + 1) << 20 AND (:recipient IS NULL OR d.recipient = :recipient)
 ORDER BY d.id;

-- get_delivery --
-- One message with the delivery of one of its recipients.
SELECT @delivery
  FROM messages AS m
  JOIN deliveries AS d ON d.id >= m.id << 20 AND d.id < (m.id + 1) << 20 AND d.recipient = :recipient
 WHERE m.id = :message_id;

-- replies_to --
-- Up to :max replies to a message, each with the delivery to one of its recipients, by id.
SELECT @delivery
  FROM messages AS m
  JOIN deliveries AS d ON d.id >= m.id << 20 AND d.id < (m.id + 1) << 20 AND d.recipient = :recipient
 WHERE m.reply_to = :message_id
 ORDER BY m.id LIMIT :max;

-- get_message --
-- One message as a whole.
SELECT @whole
  FROM log WHERE id = :message_id;

-- scoped_log --
-- The view `log` as the addresses of :scope may see it.
SELECT m.*,
       (SELECT CASE count(*) WHEN 1 THEN recipient END FROM @seen) AS recipient,
       (SELECT coalesce(min(state), 0) FROM @seen) AS state,
       (SELECT coalesce(max(attempts), 0) FROM @seen) AS attempts,
       (SELECT max(delivered_at) FROM @seen) AS delivered_at,
       (SELECT max(finished_at) FROM @seen) AS finished_at,
       (SELECT max(reason) FROM @seen) AS reason,
       (SELECT max(ready_at) FROM @seen WHERE lease IS NOT NULL) AS leased_until
  FROM messages AS m WHERE @visible;

-- can_see --
-- Whether a message is from or to an address of :scope; reads no body, and takes as long for a missing message.
SELECT EXISTS (SELECT 1 FROM messages WHERE id = :message_id AND sender IN @scope)
    OR EXISTS (SELECT 1 FROM deliveries
                WHERE id >= :message_id << 20 AND id < (:message_id << 20) + 2 AND recipient IN @scope)
    OR EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_wide
                WHERE id & 1048575 >= 2 AND recipient IN @scope
                  AND id >= :message_id << 20 AND id < (:message_id + 1) << 20);

-- scoped_recipients_of --
-- The recipients of one message that an address of :scope may see.
SELECT s.recipient FROM messages AS m JOIN deliveries AS s ON s.id IN (SELECT id FROM @seen)
 WHERE m.id = :message_id ORDER BY s.id;

-- scoped_receipts_of --
-- The receipts of one message that an address of :scope may see.
SELECT @receipt
  FROM messages AS m JOIN deliveries AS d ON d.id IN (SELECT id FROM @seen)
 WHERE m.id = :message_id ORDER BY d.id;

-- scoped_thread --
-- As `thread`, through messages only that an address of :scope may see.
WITH RECURSIVE above (id) AS (
    SELECT m.id FROM messages AS m WHERE m.id = :message_id AND @visible
     UNION
    SELECT m.id FROM above JOIN messages AS below ON below.id = above.id JOIN messages AS m ON m.id = below.reply_to
     WHERE @visible),
linked (id) AS (
    SELECT id FROM above
     UNION
    SELECT m.id FROM linked JOIN messages AS m ON m.reply_to = linked.id WHERE @visible)
SELECT @whole
  FROM log
 WHERE id IN (SELECT id FROM linked)
   AND @involved
 ORDER BY id LIMIT :max;

-- log_after --
-- Messages as a whole from an id on to another, by id; only from or to the JSON array :addresses if it is given.
SELECT @whole
  FROM log
 WHERE id >= :from_id AND id <= :last_id
   AND @involved
 ORDER BY id LIMIT :max;

-- log_correlated --
-- The messages of one correlation_id as a whole, by id; :addresses as for `log_after`.
SELECT @whole
  FROM log
 WHERE correlation_id = :correlation_id
   AND @involved
 ORDER BY id LIMIT :max;

-- log_of_task --
-- The messages of one task_id as a whole, by id; :addresses as for `log_after`.
SELECT @whole
  FROM log
 WHERE task_id = :task_id
   AND @involved
 ORDER BY id LIMIT :max;

-- thread --
-- The messages linked to one message by reply_to, in both directions, by id; :addresses as for `log_after`.
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
   AND @involved
 ORDER BY id LIMIT :max;

-- dead_letters --
-- The dead deliveries by message id; only one recipient's if :recipient is given.
SELECT @delivery
  FROM deliveries AS d INDEXED BY deliveries_dead
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.state = 4 AND (:recipient IS NULL OR d.recipient = :recipient)
 ORDER BY d.id LIMIT :max;

-- count_dead --
-- The number of dead deliveries.
SELECT count(*) FROM deliveries INDEXED BY deliveries_dead WHERE state = 4;

-- requeue --
-- Make the dead deliveries of one message ready with a fresh attempt count, unless they have expired.
UPDATE deliveries NOT INDEXED
   SET state = 0, attempts = 0, ready_at = 0, lease = NULL, delivered_at = NULL, finished_at = NULL
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND (:recipient IS NULL OR recipient = :recipient)
   AND state = 4 AND (expires_at IS NULL OR expires_at > :now)
RETURNING recipient;

-- dead_after --
-- The next dead deliveries after a delivery id, with their message ids; only one recipient's if :recipient is given.
SELECT id, id >> 20 FROM deliveries INDEXED BY deliveries_dead
 WHERE state = 4 AND (:recipient IS NULL OR recipient = :recipient) AND id > :after ORDER BY id LIMIT :max;

-- expire_dead --
-- Mark a dead delivery as expired if its message must stay: it is the newest, or a sender may still wait for it (see
-- `prunable_batch`), or does so now (:is_awaited), or another host must still hear of it.
UPDATE deliveries SET state = 3
 WHERE id = :delivery_id AND state = 4
   AND (:is_awaited OR finished_at > :grace AND finished_at <= :now OR id >> 20 = (SELECT max(id) FROM messages)
        OR EXISTS (SELECT 1 FROM messages AS m
                    WHERE m.id = :delivery_id >> 20 AND (@owed OR m.reply_address IS NOT NULL AND m.expires_at > :now
                    AND NOT EXISTS (SELECT 1 FROM messages AS answer
                                      JOIN deliveries AS asked ON asked.id >= m.id << 20 AND asked.id < (m.id + 1) << 20
                                                              AND asked.recipient = answer.sender
                                     WHERE answer.reply_to = m.id AND answer."to" = m.reply_address))));

-- delete_dead --
-- Delete one dead delivery.
DELETE FROM deliveries WHERE id = :delivery_id AND state = 4;

-- delete_orphan --
-- Delete a message that has no deliveries left.
DELETE FROM messages
 WHERE id = :message_id
   AND NOT EXISTS (SELECT 1 FROM deliveries AS d
                    WHERE d.id >= :message_id << 20 AND d.id < (:message_id + 1) << 20);

-- last_message_id --
-- The id of the newest message, 0 on an empty bus.
SELECT coalesce(max(id), 0) FROM messages;

-- last_delivery_id --
-- The id of the newest delivery, 0 on an empty bus.
SELECT coalesce(max(id), 0) FROM deliveries;

-- new_recipients_after --
-- The recipients of deliveries after a delivery id that no consumer has seen or leased yet.
SELECT DISTINCT recipient FROM deliveries WHERE id > :delivery_id AND state = 0 AND lease IS NULL;

-- backlog --
-- The number of unfinished deliveries by recipient, the oldest message id, and how many of them other hosts hold.
SELECT recipient, sum(count), min(oldest), sum(held)
  FROM (SELECT recipient, count(*) AS count, min(id) >> 20 AS oldest, 0 AS held FROM deliveries
         WHERE state < 2 AND leased = 0
           AND id NOT IN (SELECT e.id FROM deliveries AS e
                           WHERE e.state < 2 AND e.expires_at IS NOT NULL AND e.expires_at <= :now AND e.lease IS NULL)
         GROUP BY recipient
         UNION ALL
        SELECT recipient, count(*), min(id) >> 20, count(*) FILTER (WHERE ready_at = @held) FROM deliveries
         WHERE state < 2 AND leased = 1 AND (expires_at IS NULL OR expires_at > :now OR ready_at = @held)
         GROUP BY recipient)
 GROUP BY recipient ORDER BY recipient;

-- scoped_backlog --
-- As `backlog`, of the addresses of :scope only.
SELECT recipient, count(*), min(id) >> 20, count(*) FILTER (WHERE ready_at = @held) FROM deliveries
 WHERE state < 2 AND recipient IN @scope AND (expires_at IS NULL OR expires_at > :now OR ready_at = @held)
 GROUP BY recipient ORDER BY recipient;

-- prunable_span --
-- The number of messages older than a time, without the newest of all, and their last id.
SELECT count(*), max(id) FROM messages WHERE created_at < :before AND id < (SELECT max(id) FROM messages);

-- prunable_batch --
-- The next old messages after an id without unfinished or dead deliveries; and whether a sender may still wait for an
-- answer, or for the receipts of a delivery finished after :grace, or another host must still hear of it.
SELECT m.id, length(m.body),
       (m.reply_address IS NOT NULL AND m.expires_at > :now
        AND NOT EXISTS (SELECT 1 FROM messages AS answer
                          JOIN deliveries AS asked ON asked.id >= m.id << 20 AND asked.id < (m.id + 1) << 20
                                                  AND asked.recipient = answer.sender
                         WHERE answer.reply_to = m.id AND answer."to" = m.reply_address))
       OR EXISTS (SELECT 1 FROM deliveries AS d
                   WHERE d.id >= m.id << 20 AND d.id < (m.id + 1) << 20
                     AND d.finished_at > :grace AND d.finished_at <= :now)
       OR @owed
  FROM messages AS m
 WHERE m.id > :after AND m.id <= :upto AND m.created_at < :before
   AND NOT EXISTS (SELECT 1 FROM deliveries AS d
                    WHERE d.id >= m.id << 20 AND d.id < (m.id + 1) << 20 AND (d.state < 2 OR d.state = 4))
 ORDER BY m.id LIMIT :max;

-- retention_span --
-- The id and the send time of the oldest message, and the id of the newest.
SELECT id, created_at, (SELECT max(id) FROM messages) FROM messages ORDER BY id LIMIT 1;

-- retention_window --
-- The last id of the next :rows messages after an id, and the send time of the first of them.
SELECT max(id), (SELECT created_at FROM messages WHERE id > :after ORDER BY id LIMIT 1)
  FROM (SELECT id FROM messages WHERE id > :after ORDER BY id LIMIT :rows);

-- retention_batch --
-- The next messages of a window that exceed the limits of retention, without unfinished or dead deliveries. A message
-- stays if a sender may still wait for an answer, or for the receipts of a delivery finished after :grace. It also
-- stays if another host must still hear of it.
SELECT m.id FROM messages AS m
 WHERE m.id > :after AND m.id <= :window AND m.id < (SELECT max(id) FROM messages)
   AND (m.id <= :upto OR m.created_at < :before) AND (m.created_at <= :grace OR m.created_at > :now)
   AND NOT EXISTS (SELECT 1 FROM deliveries AS d
                    WHERE d.id >= m.id << 20 AND d.id < (m.id + 1) << 20
                      AND (d.state < 2 OR d.state = 4 OR d.finished_at > :grace AND d.finished_at <= :now))
   AND NOT (m.reply_address IS NOT NULL AND m.expires_at > :now
            AND NOT EXISTS (SELECT 1 FROM messages AS answer
                              JOIN deliveries AS asked ON asked.id >= m.id << 20 AND asked.id < (m.id + 1) << 20
                                                      AND asked.recipient = answer.sender
                             WHERE answer.reply_to = m.id AND answer."to" = m.reply_address))
   AND NOT @owed
 ORDER BY m.id LIMIT :max;

-- retention_has_more --
-- Whether the next message after the window exceeds the limits of retention.
SELECT EXISTS (SELECT 1 FROM messages
                WHERE id = (SELECT min(id) FROM messages WHERE id > :window) AND (id <= :upto OR created_at < :before));

-- meta_value --
-- The value of a key in `meta`.
SELECT value FROM meta WHERE key = :key;

-- set_meta --
-- Set the value of a key in `meta`.
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- delete_deliveries --
-- Delete all deliveries of one message.
DELETE FROM deliveries WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20;

-- delete_message --
-- Delete one message.
DELETE FROM messages WHERE id = :message_id;

-- unacked_by_recipient --
-- Unfinished deliveries by recipient as of :now: ready, delayed, leased, dead after a last lease; the oldest ready one
-- with its send time; and how many other hosts hold. Only leased and expiring deliveries need more than the index.
SELECT recipient, ready, delayed, leased, dead, oldest, (SELECT created_at FROM messages AS m WHERE m.id = oldest >> 20),
       held
  FROM (SELECT recipient, sum(ready) AS ready, sum(delayed) AS delayed, sum(leased) AS leased, sum(dead) AS dead,
               min(oldest) AS oldest, sum(held) AS held
          FROM (SELECT recipient,
                       count(*) FILTER (WHERE ready_at <= :now) AS ready,
                       count(*) FILTER (WHERE ready_at > :now) AS delayed,
                       0 AS leased, 0 AS dead,
                       min(id) FILTER (WHERE ready_at <= :now) AS oldest,
                       0 AS held
                  FROM deliveries
                 WHERE state < 2 AND leased = 0
                   AND id NOT IN (SELECT e.id FROM deliveries AS e
                                   WHERE e.state < 2 AND e.expires_at IS NOT NULL AND e.expires_at <= :now
                                     AND e.lease IS NULL)
                 GROUP BY recipient
                 UNION ALL
                SELECT recipient,
                       count(*) FILTER (WHERE hold = 'ready'), 0,
                       count(*) FILTER (WHERE hold = 'leased'),
                       count(*) FILTER (WHERE hold = 'dead'),
                       min(id) FILTER (WHERE hold = 'ready'),
                       count(*) FILTER (WHERE hold = 'held')
                  FROM (SELECT id, recipient,
                               CASE WHEN ready_at = @held THEN 'held'
                                    WHEN ready_at > :now THEN 'leased'
                                    WHEN attempts >= max_attempts THEN 'dead'
                                    WHEN expires_at <= :now THEN 'expired'
                                    ELSE 'ready' END AS hold
                          FROM deliveries WHERE state < 2 AND leased = 1)
                 WHERE hold <> 'expired'
                 GROUP BY recipient)
         GROUP BY recipient);

-- dead_by_recipient --
-- The number of dead deliveries by recipient.
SELECT recipient, count(*) FROM deliveries INDEXED BY deliveries_dead WHERE state = 4 GROUP BY recipient;

-- newest_timestamps --
-- The newest times in the file: of a send, a last_seen, a delivery still leased, and the end of a lease. It leaves
-- out the times that other hosts have told: their clocks are not this one.
SELECT (SELECT max(created_at) FROM (SELECT created_at FROM messages ORDER BY id DESC LIMIT 1000)),
       (SELECT max(last_seen) FROM identities WHERE host IS NULL),
       (SELECT max(delivered_at) FROM deliveries WHERE state < 2 AND leased = 1 AND ready_at < @held),
       (SELECT max(ready_at) FROM deliveries WHERE state < 2 AND leased = 1 AND ready_at < @held);

-- sample_before --
-- The newest deliveries before an id, newest first, with the times of send, first delivery and ack.
SELECT d.id, d.recipient, m.created_at, d.delivered_at, CASE d.state WHEN 2 THEN d.finished_at END
  FROM deliveries AS d NOT INDEXED
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.id < :before ORDER BY d.id DESC LIMIT :max;

-- retried_by_attempt --
-- The number of unfinished deliveries by attempt, from the second attempt on.
SELECT attempts, count(*) FROM deliveries
 WHERE state < 2 AND attempts > 1
   AND (expires_at IS NULL OR expires_at > :now OR lease IS NOT NULL AND ready_at > :now)
   AND (lease IS NULL OR ready_at > :now OR attempts < max_attempts)
 GROUP BY attempts ORDER BY attempts;

-- count_messages --
-- The number and the last id of the next :max messages after an id.
SELECT count(*), max(id) FROM (SELECT id FROM messages WHERE id > :after ORDER BY id LIMIT :max);

-- count_deliveries --
-- The number and the last id of the next :max deliveries after an id, and their number in each state as of :now.
SELECT count(*), max(id),
       count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 2),
       count(*) FILTER (WHERE state = 3), count(*) FILTER (WHERE state = 4)
  FROM (SELECT id,
               CASE WHEN state > 1 THEN state
                    WHEN lease IS NOT NULL AND ready_at <= :now AND attempts >= max_attempts THEN 4
                    WHEN expires_at <= :now AND (lease IS NULL OR ready_at <= :now) THEN 3
                    ELSE state END AS state
          FROM deliveries NOT INDEXED WHERE id > :after ORDER BY id LIMIT :max);

-- unfinished_of_senders --
-- The messages of some senders (a JSON array) that have unfinished deliveries, with their number and the body's size.
SELECT m.id, count(*), octet_length(m.body)
  FROM deliveries AS d
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.state < 2 AND m.sender IN (SELECT value FROM json_each(:senders))
 GROUP BY m.id;

-- unregistered_recipients --
-- The recipients of unfinished deliveries from some senders (a JSON array) that are not registered.
SELECT DISTINCT d.recipient
  FROM deliveries AS d
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.state < 2 AND m.sender IN (SELECT value FROM json_each(:senders))
   AND NOT EXISTS (SELECT 1 FROM identities AS i WHERE i.address = d.recipient);

-- unfinished_among --
-- The messages of a JSON array of ids that have unfinished deliveries, with their number.
SELECT j.value, count(*)
  FROM json_each(:ids) AS j
  JOIN deliveries AS d NOT INDEXED ON d.id >= j.value << 20 AND d.id < (j.value + 1) << 20
 WHERE d.state < 2
 GROUP BY j.value;

-- registered_among --
-- The registered addresses of a JSON array of addresses.
SELECT j.value FROM json_each(:addresses) AS j JOIN identities AS i ON i.address = j.value;

-- strangers_among --
-- The addresses of a JSON array that have unfinished mail and are not registered.
SELECT j.value FROM json_each(:addresses) AS j
 WHERE EXISTS (SELECT 1 FROM deliveries AS d WHERE d.state < 2 AND d.recipient = j.value)
   AND NOT EXISTS (SELECT 1 FROM identities AS i WHERE i.address = j.value);

-- change_log_objects --
-- The definition of each object of the change log, by name, or of another object with such a name.
SELECT name, sql FROM sqlite_schema
 WHERE lower(name) IN ('delivery_changes', 'delivery_changed', 'delivery_changes_trim');

-- drop_change_trigger --
-- End the logging of changes.
DROP TRIGGER IF EXISTS delivery_changed;

-- drop_change_log --
-- Drop the logged changes, with the trigger that trims them.
DROP TABLE IF EXISTS delivery_changes;

-- delete_change_log_keys --
-- Delete the tag of the change log and its end.
DELETE FROM meta WHERE key IN ('change_log', 'change_log_until');

-- change_log_end --
-- The ids of the newest message, the newest change and the oldest change, 0 if there is none; and the log's tag.
SELECT (SELECT coalesce(max(id), 0) FROM messages), (SELECT coalesce(max(id), 0) FROM delivery_changes),
       (SELECT coalesce(min(id), 0) FROM delivery_changes), (SELECT value FROM meta WHERE key = 'change_log');

-- changes_between --
-- The changes of deliveries after an id up to another that :scope may see (NULL: all), as receipts after the change.
SELECT c.id, c.delivery_id >> 20, m.sender, m.type, c.at,
       d.recipient, c.state, c.attempts, d.max_attempts, c.ready_at, nullif(c.leased, 0), c.delivered_at, c.finished_at,
       d.expires_at, c.reason,
       CASE WHEN c.leased AND (c.ready_at = @held OR c.state > 1)
            THEN (SELECT h.host FROM link_hosts AS h WHERE h.lease = d.lease) END
  FROM delivery_changes AS c
  JOIN deliveries AS d ON d.id = c.delivery_id
  JOIN messages AS m ON m.id = c.delivery_id >> 20
 WHERE c.id > :after AND c.id <= :last AND (:scope IS NULL OR m.sender IN @scope OR d.recipient IN @scope)
 ORDER BY c.id;

-- receipts_among --
-- The receipts of the first :max recipients of each message of the JSON array :ids.
SELECT j.value, @receipt
  FROM json_each(:ids) AS j
 CROSS JOIN deliveries AS d NOT INDEXED ON d.id >= j.value << 20 AND d.id < (j.value << 20) + :max
 ORDER BY d.id;

-- scoped_receipts_among --
-- As `receipts_among`, but only the receipts that an address of :scope may see; all of its own, however many.
SELECT m.id, @receipt
  FROM json_each(:ids) AS j
 CROSS JOIN messages AS m ON m.id = j.value
 CROSS JOIN deliveries AS d ON d.id IN (SELECT id FROM @seen)
 WHERE d.id & 1048575 < :max OR d.recipient IN @scope
 ORDER BY d.id;

-- recipients_among --
-- The recipients of each message of the JSON array :ids that are in :addresses, or whose session is in :sessions. An
-- address of :scope must be allowed to see them (NULL: all).
SELECT j.value, d.recipient
  FROM json_each(:ids) AS j
 CROSS JOIN messages AS m ON m.id = j.value
 CROSS JOIN deliveries AS d NOT INDEXED ON d.id >= j.value << 20 AND d.id < (j.value + 1) << 20
 WHERE (d.recipient IN (SELECT value FROM json_each(:addresses))
        OR substr(d.recipient, instr(d.recipient, ':') + 1) IN (SELECT value FROM json_each(:sessions)))
   AND (:scope IS NULL OR m.sender IN @scope OR d.recipient IN @scope);
