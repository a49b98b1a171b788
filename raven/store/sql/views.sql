-- The views of a raven bus, for any SQLite client. Every schema change recreates them; they store nothing.

DROP VIEW IF EXISTS log;
DROP VIEW IF EXISTS pending;
DROP VIEW IF EXISTS outbox;

-- Each message as a whole: with its only delivery, or else with the least advanced state of all deliveries.
CREATE VIEW log AS
SELECT m.*,
       (SELECT CASE count(*) WHEN 1 THEN recipient END FROM deliveries
         WHERE id >= m.id << 20 AND id < (m.id + 1) << 20) AS recipient,
       (SELECT coalesce(min(state), 0) FROM deliveries
         WHERE id >= m.id << 20 AND id < (m.id + 1) << 20) AS state,
       (SELECT coalesce(max(attempts), 0) FROM deliveries
         WHERE id >= m.id << 20 AND id < (m.id + 1) << 20) AS attempts,
       (SELECT max(delivered_at) FROM deliveries
         WHERE id >= m.id << 20 AND id < (m.id + 1) << 20) AS delivered_at,
       (SELECT max(finished_at) FROM deliveries
         WHERE id >= m.id << 20 AND id < (m.id + 1) << 20) AS finished_at,
       (SELECT max(reason) FROM deliveries
         WHERE id >= m.id << 20 AND id < (m.id + 1) << 20) AS reason,
       (SELECT max(ready_at) FROM deliveries
         WHERE id >= m.id << 20 AND id < (m.id + 1) << 20 AND lease IS NOT NULL) AS leased_until
  FROM messages AS m;

-- The unfinished deliveries with readable states and times.
CREATE VIEW pending AS
SELECT m.id,
       d.recipient,
       m.sender,
       m.type,
       m.body,
       CASE m.urgency WHEN 0 THEN 'blocking' WHEN 1 THEN 'prompt' ELSE 'fyi' END AS urgency,
       CASE WHEN d.ready_at > (julianday('now') - 2440587.5) * 86400e6
            THEN CASE WHEN d.lease IS NULL THEN 'delayed'
                      WHEN d.ready_at = 253402300799000000 THEN 'held' ELSE 'leased' END
            WHEN d.state = 1 THEN 'delivered' ELSE 'sent' END AS state,
       d.attempts,
       strftime('%Y-%m-%dT%H:%M:%fZ', m.created_at / 1e6, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.expires_at / 1e6, 'unixepoch') AS expires_at,
       m.reply_address
  FROM deliveries AS d
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.state < 2
   AND (d.expires_at IS NULL OR d.expires_at > (julianday('now') - 2440587.5) * 86400e6
        OR d.lease IS NOT NULL AND d.ready_at = 253402300799000000)
 ORDER BY d.recipient, d.urgency, d.id;

-- Any SQLite client sends with one INSERT INTO outbox (sender, recipient, type, body) VALUES (...).
CREATE VIEW outbox AS
SELECT sender, "to" AS recipient, type, body,
       CASE urgency WHEN 0 THEN 'blocking' WHEN 1 THEN 'prompt' ELSE 'fyi' END AS urgency,
       tags, correlation_id, reply_to, task_id, dedup_key,
       NULL AS expires_in_s, NULL AS delay_s, report, NULL AS max_attempts
  FROM messages;

CREATE TRIGGER outbox_insert INSTEAD OF INSERT ON outbox
BEGIN
    -- The rules of address.py. The last condition finds invalid UTF-8: rebuilt from its characters, the text differs.
    -- Two characters are left alone, for which unicode() returns another one.
    SELECT CASE a.name
        WHEN 'sender' THEN RAISE(ABORT, 'raven: sender must be <role>:<session>, for example worker:swarm-1')
        ELSE RAISE(ABORT, 'raven: recipient must be <role>:<session>; either part may be * for all') END
      FROM (SELECT name, text,
                   substr(text, 1, instr(text, ':') - 1) AS role, substr(text, instr(text, ':') + 1) AS session,
                   char(32, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8239, 8287,
                        12288) AS blanks
              FROM (SELECT 'sender' AS name, NEW.sender AS text UNION ALL SELECT 'recipient', NEW.recipient)) AS a
     WHERE text IS NULL OR typeof(text) <> 'text' OR length(text) > 512 OR instr(CAST(text AS BLOB), x'00')
        OR length(text) - length(replace(text, ':', '')) <> 1 OR role = '' OR session = ''
        OR trim(role, blanks) <> role OR trim(session, blanks) <> session
        OR text GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || char(8232, 8233) || ']*'
        OR (instr(role, '*') AND (name = 'sender' OR role <> '*'))
        OR (instr(session, '*') AND (name = 'sender' OR session <> '*'))
        OR text <> (SELECT group_concat(CASE WHEN substr(text, key + 1, 1) IN (char(65534), char(65535))
                                            THEN substr(text, key + 1, 1)
                                            ELSE char(unicode(substr(text, key + 1, 1))) END, '')
                      FROM json_each('[' || substr(replace(hex(zeroblob(length(text))), '00', ',0'), 2) || ']'));

    -- The rules of new_message.py for texts.
    SELECT CASE t.name
        WHEN 'type' THEN RAISE(ABORT, 'raven: type must be a text of 1 to 1024 characters that is not blank')
        WHEN 'tags' THEN RAISE(ABORT, 'raven: tags must be a JSON array of texts of 1 to 1024 characters, none blank')
        WHEN 'task_id' THEN RAISE(ABORT, 'raven: task_id must be a text of 1 to 1024 characters that is not blank')
        WHEN 'dedup_key' THEN RAISE(ABORT, 'raven: dedup_key must be a text of 1 to 1024 characters that is not blank')
        ELSE RAISE(ABORT, 'raven: correlation_id must be a text of 1 to 1024 characters that is not blank') END
      FROM (SELECT name, value, CAST(value AS TEXT) AS text
              FROM (SELECT 'type' AS name, NEW.type AS value UNION ALL
                    SELECT 'correlation_id', NEW.correlation_id WHERE NEW.correlation_id IS NOT NULL UNION ALL
                    SELECT 'task_id', NEW.task_id WHERE NEW.task_id IS NOT NULL UNION ALL
                    SELECT 'dedup_key', NEW.dedup_key WHERE NEW.dedup_key IS NOT NULL UNION ALL
                    SELECT 'tags', NULL
                     WHERE NEW.tags IS NOT NULL
                       AND CASE WHEN typeof(NEW.tags) <> 'text' OR length(CAST(NEW.tags AS BLOB)) > 4194304 THEN 1
                                WHEN NOT json_valid(NEW.tags) THEN 1
                                ELSE json_type(NEW.tags) <> 'array' END UNION ALL
                    SELECT 'tags', CASE type WHEN 'text' THEN value END
                      FROM json_each(CASE WHEN typeof(NEW.tags) = 'text' AND json_valid(NEW.tags) THEN NEW.tags
                                          ELSE '[]' END))) AS t
     WHERE value IS NULL OR typeof(value) NOT IN ('text', CASE WHEN name IN ('type', 'tags') THEN 'text' ELSE 'integer' END)
        OR length(text) > 1024 OR instr(CAST(text AS BLOB), x'00')
        OR trim(text, char(9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197,
                           8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)) = ''
        OR text <> (SELECT group_concat(CASE WHEN substr(text, key + 1, 1) IN (char(65534), char(65535))
                                            THEN substr(text, key + 1, 1)
                                            ELSE char(unicode(substr(text, key + 1, 1))) END, '')
                      FROM json_each('[' || substr(replace(hex(zeroblob(length(text))), '00', ',0'), 2) || ']'));

    SELECT CASE
        WHEN lower(substr(NEW.type, 1, 6)) = 'raven.'
        THEN RAISE(ABORT, 'raven: types that begin with raven. are for raven''s own messages: rename it')
        WHEN length(CAST(NEW.body AS BLOB)) > 4194304
        THEN RAISE(ABORT, 'raven: body is over the limit of 4 MiB (4194304 bytes): send a path to a file instead')
        WHEN NEW.body IS NULL OR typeof(NEW.body) = 'blob' OR NOT json_valid(NEW.body)
        THEN RAISE(ABORT, 'raven: body must be JSON; make plain text JSON with json_quote(...)')
        WHEN coalesce(NEW.urgency, 'prompt') NOT IN ('blocking', 'prompt', 'fyi')
        THEN RAISE(ABORT, 'raven: urgency must be blocking, prompt or fyi')
        WHEN NEW.expires_in_s IS NOT NULL AND (typeof(NEW.expires_in_s) NOT IN ('integer', 'real')
                                               OR NEW.expires_in_s < 1e-6 OR NEW.expires_in_s > 3153600000)
        THEN RAISE(ABORT, 'raven: expires_in_s must be a number of seconds above 0, at most 100 years')
        WHEN NEW.delay_s IS NOT NULL AND (typeof(NEW.delay_s) NOT IN ('integer', 'real')
                                          OR NEW.delay_s < 0 OR NEW.delay_s > 3153600000)
        THEN RAISE(ABORT, 'raven: delay_s must be a number of seconds, 0 or more, at most 100 years')
        WHEN coalesce(NEW.report, 'undelivered') <> 'undelivered'
        THEN RAISE(ABORT, 'raven: report must be undelivered, or NULL')
        WHEN NEW.max_attempts IS NOT NULL AND (typeof(NEW.max_attempts) <> 'integer'
                                               OR NEW.max_attempts NOT BETWEEN 1 AND 1000000)
        THEN RAISE(ABORT, 'raven: max_attempts must be a whole number, 1 to 1000000')
        WHEN NEW.reply_to IS NOT NULL AND (typeof(NEW.reply_to) <> 'integer'
                                           OR NEW.reply_to NOT BETWEEN 1 AND 8796093022207)
        THEN RAISE(ABORT, 'raven: reply_to must be the id of a message')
        -- A pattern never matches a private reply address: its role ends with + and 16 hexadecimal digits.
        WHEN instr(NEW.recipient, '*') AND NOT EXISTS (
             SELECT address FROM identities
              WHERE substr(NEW.recipient, 1, instr(NEW.recipient, ':') - 1) IN ('*', role)
                AND substr(NEW.recipient, instr(NEW.recipient, ':') + 1) IN ('*', session)
                AND NOT (substr(role, -17, 1) = '+' AND role GLOB '*+' || replace(hex(zeroblob(8)), '0', '[0-9a-f]')))
        THEN RAISE(ABORT, 'raven: no registered address matches that recipient')
        -- A delivery has 20 bits for the ordinal of its recipient.
        WHEN instr(NEW.recipient, '*')
             AND (SELECT count(*) FROM (
             SELECT address FROM identities
              WHERE substr(NEW.recipient, 1, instr(NEW.recipient, ':') - 1) IN ('*', role)
                AND substr(NEW.recipient, instr(NEW.recipient, ':') + 1) IN ('*', session)
                AND NOT (substr(role, -17, 1) = '+' AND role GLOB '*+' || replace(hex(zeroblob(8)), '0', '[0-9a-f]'))
                AND address <> NEW.sender LIMIT 1048577)) > 1048576
        THEN RAISE(ABORT, 'raven: a message to more than 1048576 recipients is over the limit')
    END;

    -- A duplicate of the sender's dedup_key inserts nothing, here and below.
    INSERT INTO messages (sender, "to", type, body, urgency, tags, correlation_id, reply_to, task_id, dedup_key,
                          created_at, expires_at, report)
    SELECT NEW.sender, NEW.recipient, NEW.type, NEW.body,
           CASE NEW.urgency WHEN 'blocking' THEN 0 WHEN 'fyi' THEN 2 ELSE 1 END,
           NEW.tags, NEW.correlation_id, NEW.reply_to, NEW.task_id, NEW.dedup_key, clock.now,
           clock.now + CAST(NEW.expires_in_s * 1e6 AS INTEGER), NEW.report
      FROM (SELECT CAST(round((julianday('now') - 2440587.5) * 86400e3) AS INTEGER) * 1000 AS now) AS clock
     WHERE NEW.dedup_key IS NULL
        OR NOT EXISTS (SELECT 1 FROM messages WHERE sender = NEW.sender AND dedup_key = NEW.dedup_key);

    INSERT INTO deliveries (id, recipient, urgency, ready_at, expires_at, max_attempts)
    SELECT (m.id << 20) + row_number() OVER (ORDER BY r.address) - 1, r.address, m.urgency,
           CASE WHEN NEW.delay_s > 0 THEN m.created_at + CAST(NEW.delay_s * 1e6 AS INTEGER) ELSE 0 END, m.expires_at,
           coalesce(NEW.max_attempts, 5)
      FROM messages AS m,
           (SELECT NEW.recipient AS address WHERE NOT instr(NEW.recipient, '*')
             UNION ALL
            SELECT address FROM identities
             WHERE instr(NEW.recipient, '*') AND address <> NEW.sender
               AND substr(NEW.recipient, 1, instr(NEW.recipient, ':') - 1) IN ('*', role)
               AND substr(NEW.recipient, instr(NEW.recipient, ':') + 1) IN ('*', session)
               AND NOT (substr(role, -17, 1) = '+' AND role GLOB '*+' || replace(hex(zeroblob(8)), '0', '[0-9a-f]'))) AS r
     WHERE m.id = last_insert_rowid() AND changes() > 0;
END;
