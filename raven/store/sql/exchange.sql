-- The statements of the exchange, in the form of queries.sql; raven/exchange loads them.
-- A delivery that another host has is leased until @held, under the lease of that host in link_hosts.

-- @host_row --
-- The columns of HostState.
host, lease, epoch, sent, sent_tag, confirmed, confirmed_tag, their_epoch, received, last_tag

-- @delivery_id --
-- The id of the delivery of the message :message_id to :recipient; NULL if there is none.
coalesce((SELECT e.id FROM deliveries AS e NOT INDEXED
           WHERE e.id >= :message_id << 20 AND e.id < (:message_id << 20) + 2 AND e.recipient = :recipient),
         (SELECT e.id FROM deliveries AS e INDEXED BY deliveries_wide
           WHERE e.id & 1048575 >= 2 AND e.recipient = :recipient
             AND e.id >= :message_id << 20 AND e.id < (:message_id + 1) << 20))

-- link_hosts --
-- The hosts to which this bus is linked.
SELECT @host_row FROM link_hosts ORDER BY host;

-- link_host --
-- One host.
SELECT @host_row FROM link_hosts WHERE host = :host;

-- insert_link_host --
-- Begin a link to a host.
INSERT INTO link_hosts (host, lease, epoch) VALUES (:host, :lease, :epoch);

-- set_sent --
-- Note the last number that was given to a frame for a host, and its tag.
UPDATE link_hosts SET sent = :number, sent_tag = :tag WHERE host = :host;

-- set_received --
-- Note the last frame of a host that is committed here.
UPDATE link_hosts SET their_epoch = :epoch, received = :number, last_tag = :tag WHERE host = :host;

-- set_confirmed --
-- Note the last frame that a host has committed.
UPDATE link_hosts SET confirmed = :number, confirmed_tag = :tag WHERE host = :host;

-- set_epoch --
-- Begin the numbers of a host's frames anew.
UPDATE link_hosts SET epoch = :epoch, sent = 0, sent_tag = 0, confirmed = 0, confirmed_tag = 0 WHERE host = :host;

-- set_news_number --
-- After new numbers, let the imported messages of a host with unconfirmed news wait for the last of them.
UPDATE link_in SET news = :number
 WHERE origin >= :host || '/' AND origin < :host || '0' AND news > :confirmed;

-- delete_link_host --
-- End the link to a host.
DELETE FROM link_hosts WHERE host = :host;

-- insert_frame --
-- Keep a frame for a host until it is confirmed.
INSERT INTO link_out (host, seq, tag, message_id, content) VALUES (:host, :seq, :tag, :message_id, :content);

-- delete_frames --
-- Delete the frames for a host up to a number.
DELETE FROM link_out WHERE host = :host AND seq <= :number;

-- frame_tag --
-- The tag of one frame.
SELECT tag FROM link_out WHERE host = :host AND seq = :number;

-- news_frames --
-- The contents of the frames with news for a host, in their order.
SELECT content FROM link_out WHERE host = :host AND message_id IS NULL ORDER BY seq;

-- @size --
-- The bytes of the long columns of `messages AS m`.
octet_length(m.body) + octet_length(m."to") + coalesce(octet_length(m.tags), 0)

-- frame_sizes --
-- The numbers and sizes of up to :max frames after a number.
SELECT o.seq, octet_length(o.content) + coalesce(@size, 0)
  FROM link_out AS o
  LEFT JOIN messages AS m ON m.id = o.message_id
 WHERE o.host = :host AND o.seq > :after ORDER BY o.seq LIMIT :max;

-- frames_between --
-- The frames after a number up to another, with their messages, and the message that each replies to.
SELECT o.seq, o.tag, o.content, o.message_id IS NOT NULL,
       (SELECT q.created_at FROM messages AS q WHERE q.id = m.reply_to),
       (SELECT i.origin FROM link_in AS i WHERE i.message_id = m.reply_to
         ORDER BY substr(i.origin, 1, length(:host) + 1) = :host || '/' DESC LIMIT 1), @message
  FROM link_out AS o
  LEFT JOIN messages AS m ON m.id = o.message_id
 WHERE o.host = :host AND o.seq > :after AND o.seq <= :upto ORDER BY o.seq;

-- ready_to_leave --
-- The next ready deliveries of the addresses of a JSON array that may go to another host, by urgency, then id.
SELECT d.id, d.recipient, d.max_attempts, d.attempts, d.expires_at, m.created_at, @size, m."to",
       d.frame IS NOT NULL
  FROM json_each(:addresses) AS a
 CROSS JOIN deliveries AS d ON d.id IN (SELECT e.id FROM deliveries AS e
                                         WHERE e.state < 2 AND e.leased = 0 AND e.recipient = a.value AND e.ready_at = 0
                                           AND coalesce(e.frame, -2) = -2 AND (e.expires_at IS NULL OR e.expires_at > :now)
                                         ORDER BY e.urgency, e.id LIMIT :max)
  JOIN messages AS m ON m.id = d.id >> 20
 ORDER BY d.urgency, d.id LIMIT :max;

-- origins_at --
-- The messages of a JSON array of ids that a host has sent, too: origin, and tag of the frame that brought it last.
SELECT message_id, origin, frame FROM link_in
 WHERE message_id IN (SELECT value FROM json_each(:ids)) AND substr(origin, 1, length(:host) + 1) = :host || '/';

-- hold --
-- Hold a ready delivery for another host.
UPDATE deliveries SET ready_at = @held, lease = :lease, frame = :frame
 WHERE id = :id AND state < 2 AND ready_at = 0 AND lease IS NULL AND coalesce(frame, -2) = -2;

-- restamp --
-- Name the newest frame that gave a message to a host on all of its deliveries that the host has.
UPDATE deliveries NOT INDEXED SET frame = :frame
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND lease = :lease AND frame > 0;

-- held_by --
-- The deliveries that a host has, by id.
SELECT d.id, d.recipient, d.max_attempts, d.attempts, d.expires_at, m.created_at
  FROM deliveries AS d
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.state < 2 AND d.leased = 1 AND d.ready_at = @held AND d.lease = :lease
 ORDER BY d.id;

-- release_held --
-- Make up to :max deliveries ready that a forgotten host has.
UPDATE deliveries SET ready_at = 0, lease = NULL,
       frame = CASE WHEN EXISTS (SELECT 1 FROM link_in WHERE message_id = deliveries.id >> 20) THEN -2 END
 WHERE id IN (SELECT id FROM deliveries
               WHERE state < 2 AND leased = 1 AND ready_at = @held AND lease = :lease LIMIT :max)
RETURNING id;

-- told --
-- Put into effect which state a delivery has at the host that has it; a dead one may be open there again. That a dead
-- one was deleted there is no news. The host refuses a delivery (:frame 0) whichever frame brings it.
UPDATE deliveries
   SET state = :state, attempts = :attempts, delivered_at = :delivered_at, finished_at = :finished_at, reason = :reason,
       ready_at = CASE WHEN :state < 2 THEN @held ELSE 0 END
 WHERE id = @delivery_id
   AND lease = :lease AND (frame = :frame OR :frame = 0 AND :state = 4)
   AND (state < 2 AND ready_at = @held OR state = 4 AND :state <> 3)
   AND (state <> :state OR attempts <> :attempts OR reason IS NOT :reason)
   AND EXISTS (SELECT 1 FROM messages WHERE id = :message_id AND created_at = :created_at)
RETURNING id, state;

-- returned --
-- Make a delivery ready that another host has given back, maybe after a requeue there.
UPDATE deliveries
   SET state = state & 1, finished_at = NULL, ready_at = 0, lease = NULL, attempts = :attempts, reason = :reason,
       frame = CASE WHEN EXISTS (SELECT 1 FROM link_in WHERE message_id = :message_id) THEN -2 END
 WHERE id = @delivery_id
   AND lease = :lease AND frame = :frame AND (state < 2 AND ready_at = @held OR state = 4)
   AND EXISTS (SELECT 1 FROM messages WHERE id = :message_id AND created_at = :created_at)
RETURNING id, state;

-- unmark --
-- Note that a delivery is no longer another host's.
UPDATE deliveries
   SET frame = CASE WHEN EXISTS (SELECT 1 FROM link_in WHERE message_id = deliveries.id >> 20) THEN -2 END
 WHERE id = :id;

-- give_back_home --
-- Finish up to :max ready deliveries to :recipient here that came from other hosts, so that these get them back.
UPDATE deliveries
   SET state = 3, finished_at = :now, reason = :reason, frame = -1
 WHERE id IN (SELECT d.id FROM deliveries AS d
               WHERE d.state < 2 AND d.leased = 0 AND d.recipient = :recipient AND d.ready_at = 0 AND d.frame = 0
                 AND (d.expires_at IS NULL OR d.expires_at > :now)
                 AND NOT EXISTS (SELECT 1 FROM link_in AS i WHERE i.message_id = d.id >> 20 AND i.returns % 10 >= :returns)
               ORDER BY d.id LIMIT :max)
RETURNING id;

-- count_return --
-- Count that a message was given back.
UPDATE link_in SET returns = returns + (returns % 10 < 9) WHERE message_id = :message_id;

-- revive --
-- Open a delivery again that this host has given up, or that expired here after its host had taken it back: that host
-- has sent it once more.
UPDATE deliveries
   SET state = 0, ready_at = 0, lease = NULL, attempts = :attempts, max_attempts = :max_attempts, delivered_at = NULL,
       finished_at = NULL, expires_at = :expires_at, frame = 0
 WHERE id = @delivery_id AND state = 3 AND (frame = -1 OR expires_at < ifnull(:expires_at, @held))
RETURNING id;

-- withdraw_there --
-- Let a delivery expire at :expires_at, as its host wants; with :lets_go it is given up, a dead or expired one at once.
UPDATE deliveries
   SET state = CASE WHEN state > 2 OR lease IS NULL AND :expires_at <= :now THEN 3 ELSE state END,
       ready_at = CASE WHEN lease IS NULL AND :expires_at <= :now THEN 0 ELSE ready_at END,
       finished_at = CASE WHEN state > 2 OR lease IS NULL AND :expires_at <= :now THEN :now END,
       frame = CASE WHEN :lets_go AND (state > 2 OR lease IS NULL) THEN -1 ELSE frame END,
       reason = CASE WHEN :lets_go AND (state > 2 OR lease IS NULL) THEN :reason ELSE reason END, expires_at = :expires_at
 WHERE id = @delivery_id AND (state < 2 OR state > 2 AND :lets_go)
RETURNING id, state;

-- withdraw_origin --
-- Let a question expire at the time of its deliveries, so that a reply is refused.
UPDATE messages SET expires_at = :expires_at WHERE id = :message_id AND reply_address IS NOT NULL;

-- origins_among --
-- The messages that came from the origins of a JSON array.
SELECT origin, message_id, returns FROM link_in WHERE origin IN (SELECT value FROM json_each(:origins));

-- own_among --
-- The send times of the messages of a JSON array of ids.
SELECT id, created_at FROM messages WHERE id IN (SELECT value FROM json_each(:ids));

-- duplicates_among --
-- The messages with a sender and a dedup_key of a JSON array of both.
SELECT m.sender, m.dedup_key, m.id
  FROM json_each(:keys) AS j
  JOIN messages AS m ON m.sender = j.value ->> 0 AND m.dedup_key = j.value ->> 1;

-- admit_delivery --
-- Insert a delivery of a message of another host.
INSERT INTO deliveries (id, recipient, urgency, ready_at, expires_at, max_attempts, attempts, frame)
VALUES (:id, :recipient, :urgency, 0, :expires_at, :max_attempts, :attempts, 0);

-- admit_another --
-- Insert a delivery of a message that is here already, unless it has one to that recipient.
INSERT INTO deliveries (id, recipient, urgency, ready_at, expires_at, max_attempts, attempts, frame)
SELECT d.id + 1, :recipient, :urgency, 0, :expires_at, :max_attempts, :attempts, 0
  FROM deliveries AS d
 WHERE d.id = (SELECT max(f.id) FROM deliveries AS f NOT INDEXED
                WHERE f.id >= :message_id << 20 AND f.id < (:message_id + 1) << 20)
   AND d.id + 1 < (:message_id + 1) << 20 AND @delivery_id IS NULL
RETURNING id;

-- note_origin --
-- Note which message came from an origin, and in which frame.
INSERT INTO link_in (origin, message_id, reply_address, frame, returns)
VALUES (:origin, :message_id, :reply_address, :frame, :returns)
ON CONFLICT (origin) DO UPDATE SET frame = excluded.frame;

-- share_origins --
-- Note that a message has several origins, or one here: no host alone withdraws it.
UPDATE link_in SET returns = returns % 10 + 10 WHERE message_id = :message_id;

-- mark_shared --
-- Note that other hosts must hear of the deliveries of a message of this host.
UPDATE deliveries NOT INDEXED SET frame = -2
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND frame IS NULL;

-- reclaim --
-- Make the deliveries of a message ready again that a host has: it has sent the same message to this one.
UPDATE deliveries NOT INDEXED SET ready_at = 0, lease = NULL
 WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20 AND state < 2 AND ready_at = @held AND lease = :lease;

-- note_news --
-- Note that other hosts must hear of all deliveries of a message.
INSERT OR IGNORE INTO link_news (delivery_id, lease)
SELECT id, NULL FROM deliveries NOT INDEXED WHERE id >= :message_id << 20 AND id < (:message_id + 1) << 20;

-- note_shared_news --
-- Note that other hosts must hear of a delivery, if its message came from one.
INSERT OR IGNORE INTO link_news (delivery_id, lease)
SELECT :id, NULL FROM link_in WHERE message_id = :id >> 20 LIMIT 1;

-- has_news --
-- Whether another host must hear of any change, and whether of one of a delivery that it had.
SELECT EXISTS (SELECT 1 FROM link_news), EXISTS (SELECT 1 FROM link_news WHERE lease IS NOT NULL);

-- changed_deliveries --
-- The first :max deliveries whose changes other hosts must hear of, with the lease of the host that had each.
SELECT n.delivery_id, n.lease, m.created_at, d.recipient, d.state, d.attempts, d.delivered_at, d.finished_at, d.reason,
       d.frame, d.lease, d.ready_at, d.expires_at
  FROM link_news AS n
  LEFT JOIN deliveries AS d ON d.id = n.delivery_id
  LEFT JOIN messages AS m ON m.id = n.delivery_id >> 20
 ORDER BY n.delivery_id LIMIT :max;

-- origins_of_changed --
-- The origins of the messages of these deliveries.
SELECT i.message_id, i.origin, i.frame
  FROM link_in AS i
 WHERE i.message_id IN (SELECT delivery_id >> 20 FROM (SELECT delivery_id FROM link_news ORDER BY delivery_id LIMIT :max));

-- delete_news --
-- Delete the notes on these deliveries.
DELETE FROM link_news WHERE delivery_id <= :upto;

-- drop_news --
-- Delete the note on one delivery.
DELETE FROM link_news WHERE delivery_id = :id;

-- set_news --
-- Note the number of the frame that tells of a message.
UPDATE link_in SET news = :number WHERE origin = :origin;

-- recipients_in --
-- The recipients of the deliveries of a JSON array of ids.
SELECT DISTINCT recipient FROM deliveries WHERE id IN (SELECT value FROM json_each(:ids));

-- ready_recipients --
-- Each address with ready deliveries.
WITH RECURSIVE open (recipient) AS (
    SELECT min(recipient) FROM deliveries WHERE state < 2 AND leased = 0
     UNION ALL
    SELECT (SELECT min(d.recipient) FROM deliveries AS d
             WHERE d.state < 2 AND d.leased = 0 AND d.recipient > open.recipient)
      FROM open WHERE open.recipient IS NOT NULL)
SELECT recipient FROM open WHERE recipient IS NOT NULL;

-- foreign_recipients --
-- Each address with unfinished deliveries that came from other hosts.
WITH RECURSIVE foreigners (recipient) AS (
    SELECT min(recipient) FROM deliveries WHERE state < 2 AND frame = 0
     UNION ALL
    SELECT (SELECT min(d.recipient) FROM deliveries AS d
             WHERE d.state < 2 AND d.frame = 0 AND d.recipient > foreigners.recipient)
      FROM foreigners WHERE foreigners.recipient IS NOT NULL)
SELECT recipient FROM foreigners WHERE recipient IS NOT NULL;

-- recipients_after --
-- The recipients of the deliveries after a delivery id.
SELECT DISTINCT recipient FROM deliveries WHERE id > :delivery_id AND state < 2;

-- count_to_leave --
-- The number of ready deliveries, 1,000 at most, that may leave, for each address of a JSON array. For a private reply
-- address also the origin of its question, unless a delivery replies to a question of this host with that address.
SELECT a.value,
       (SELECT count(*) FROM (SELECT 1 FROM deliveries AS d
                               WHERE d.state < 2 AND d.leased = 0 AND d.recipient = a.value AND d.ready_at = 0
                                 AND coalesce(d.frame, -2) = -2 AND (d.expires_at IS NULL OR d.expires_at > :now) LIMIT 1000)) AS ready,
       (SELECT i.origin FROM link_in AS i
         WHERE i.reply_address = a.value
           AND NOT EXISTS (SELECT 1 FROM deliveries AS d JOIN messages AS m ON m.id = d.id >> 20
                             JOIN messages AS q ON q.id = m.reply_to
                             JOIN deliveries AS e ON e.id = q.id << 20
                            WHERE d.state < 2 AND d.leased = 0 AND d.recipient = a.value AND d.ready_at = 0
                              AND q.reply_address = a.value AND coalesce(e.frame, -2) NOT IN (0, -1))
         LIMIT 1)
  FROM json_each(:addresses) AS a
 WHERE ready > 0;

-- count_foreign --
-- The number of ready deliveries, 1,000 at most, that may be given back, for each address of a JSON array.
SELECT a.value,
       (SELECT count(*) FROM (SELECT 1 FROM deliveries AS d INDEXED BY link_foreign
                               WHERE d.state < 2 AND d.leased = 0 AND d.recipient = a.value AND d.ready_at = 0
                                 AND d.frame = 0 AND (d.expires_at IS NULL OR d.expires_at > :now)
                                 AND NOT EXISTS (SELECT 1 FROM link_in AS i
                                                  WHERE i.message_id = d.id >> 20 AND i.returns % 10 >= :returns)
                               LIMIT 1000)) AS ready
  FROM json_each(:addresses) AS a
 WHERE ready > 0;

-- own_identities --
-- The registered addresses of this host.
SELECT address, session, registered_at, last_seen FROM identities WHERE host IS NULL AND NOT (@private);

-- count_open --
-- The number of unfinished deliveries to each address, without the ones that other hosts have.
SELECT recipient, sum(n)
  FROM (SELECT recipient, count(*) AS n FROM deliveries WHERE state < 2 AND leased = 0 GROUP BY recipient
         UNION ALL
        SELECT recipient, count(*) FROM deliveries WHERE state < 2 AND leased = 1 AND ready_at < @held GROUP BY recipient)
 GROUP BY recipient;

-- shown_identities --
-- The registered addresses, with the host of each and the time of its last use.
SELECT address, host, last_seen FROM identities;

-- show_identity --
-- Register an address of another host, unless it is one of this host.
INSERT INTO identities (address, role, session, registered_at, last_seen, host)
VALUES (:address, :role, :session, :registered_at, :last_seen, :host)
ON CONFLICT (address) DO UPDATE SET last_seen = excluded.last_seen, host = excluded.host WHERE host IS NOT NULL;

-- hide_identity --
-- Unregister an address of another host.
DELETE FROM identities WHERE address = :address AND host = :host;

-- hide_identities --
-- Unregister all addresses of another host.
DELETE FROM identities WHERE host = :host;

-- drop_host_news --
-- Delete the notes for a host on deliveries that it had.
DELETE FROM link_news WHERE lease = :lease;

-- held_counts --
-- The number of deliveries that each host has, and the send time of the oldest, by lease.
SELECT lease, number, (SELECT m.created_at FROM messages AS m WHERE m.id = oldest >> 20)
  FROM (SELECT lease, count(*) AS number, min(id) AS oldest FROM deliveries
         WHERE state < 2 AND leased = 1 AND ready_at = @held GROUP BY lease);

-- held_by_unknown --
-- Message id and recipient of up to :max deliveries that are held for a host without a row in link_hosts, by id.
SELECT id >> 20, recipient FROM deliveries
 WHERE state < 2 AND leased = 1 AND ready_at = @held AND lease NOT IN (SELECT lease FROM link_hosts)
 ORDER BY id LIMIT :max;

-- count_held_by_unknown --
-- The number of such deliveries.
SELECT count(*) FROM deliveries
 WHERE state < 2 AND leased = 1 AND ready_at = @held AND lease NOT IN (SELECT lease FROM link_hosts);

-- link_objects --
-- The definitions of the triggers and of the index of the link, by name.
SELECT name, sql FROM sqlite_schema WHERE lower(name) IN ('link_changed', 'link_deleted', 'link_foreign');
