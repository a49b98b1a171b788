-- A bus as raven 0.2.0 wrote it, the first release; its schema is version 1. What later versions of raven are tried with.
-- Load it with any SQLite 3.37 or newer into a file that is not there yet, and then `PRAGMA journal_mode = WAL`.
--
-- The package `raven` of 0.2.0 ran the program below; then the `sqlite3` program sent the message 19 by
--     INSERT INTO outbox(sender, recipient, type, body, tags) VALUES ('shell:s', 'worker:s', 'note', '"by SQL"', '["sql"]')
-- and its `.dump` follows, with three changes: the PRAGMAs that a dump leaves out stand at the head and at the end, and
-- the times before 2027 were made 730 days earlier, so that on no machine's clock they are still to come.
--
--     """Write a bus with raven 0.2.0 that holds rows of every kind."""
--     import os, signal, sys, time
--     from raven import BusClient
--     db = sys.argv[1]
--     boss, worker, tester, seen = (BusClient.at(who, db) for who in ("boss:s", "worker:s", "tester:t", "seen:u"))
--     boss.register("idle:s")
--     worker.ack(boss.send("worker:s", "note", "pruned").id)                           # 1
--     boss.send("worker:s", "note", "first", urgency="blocking", tags=["a", "é"], correlation_id="talk", task_id="task-1",
--               dedup_key="key-1", expires_in_s=3e9)                                   # 2
--     time.sleep(0.05)
--     boss.prune(0.01)
--     boss.send("worker:s", "note", "not stored", dedup_key="key-1")
--     boss.send("*:s", "news", {"to": "all of s"})                                     # 3
--     boss.send("*:*", "news", ["to", "all"])                                          # 4
--     boss.send(["worker:s", "tester:t"], "news", "to two", urgency="fyi")             # 5
--     asked = boss.send("worker:s", "question", {"n": 1.5, "none": None}, correlation_id="talk")  # 6
--     worker.send("boss:s", "answer", "☃ and 🐦", reply_to=asked.id, correlation_id="talk", dedup_key="key-1")  # 7
--     worker.ack(asked.id)
--     boss.send("worker:s", "later", "delayed", delay_s=3e9)                           # 8
--     boss.send("tester:t", "brief", "expired and noticed", expires_in_s=0.01)         # 9
--     boss.send("seen:u", "note", "delivered")                                         # 10
--     seen.inbox()
--     boss.send("worker:s", "large", "large " * 900)                                   # 11
--     time.sleep(0.05)
--     next(iter(tester.listen(timeout_s=5)))                                           # takes 4, notices 9
--     boss.send_many([{"to": "crash:s", "type": "job", "body": number} for number in range(6)])  # 12 to 17
--     if not (child := os.fork()):
--         feed = BusClient.at("crash:s", db).listen()
--         for _ in range(2):  # of two fetched together, the second is left under its lease
--             next(feed)
--         os.kill(os.getpid(), signal.SIGKILL)
--     os.waitpid(child, 0)
--     boss.send("tester:t", "brief", "expired, unnoticed", expires_in_s=0.01)          # 18
--     for one in (boss, worker, tester, seen):
--         one.close()

PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE messages (
    id             INTEGER PRIMARY KEY,
    sender         TEXT NOT NULL,
    "to"           TEXT NOT NULL,        -- as the sender wrote it; a list keeps one address a line
    type           TEXT NOT NULL,
    body           TEXT NOT NULL,        -- JSON
    urgency        INTEGER NOT NULL DEFAULT 1 CHECK (urgency BETWEEN 0 AND 2),
    tags           TEXT,                 -- JSON array of texts, or NULL
    correlation_id TEXT,
    reply_to       INTEGER,              -- the id of the message that this one answers
    task_id        TEXT,
    dedup_key      TEXT,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER
) STRICT;
INSERT INTO messages VALUES(2,'boss:s','worker:s','note','"first"',0,'["a","é"]','talk',NULL,'task-1','key-1',1732364474392448,4795436474392448);
INSERT INTO messages VALUES(3,'boss:s','*:s','news','{"to":"all of s"}',1,NULL,NULL,NULL,NULL,NULL,1732364474445601,NULL);
INSERT INTO messages VALUES(4,'boss:s','*:*','news','["to","all"]',1,NULL,NULL,NULL,NULL,NULL,1732364474446038,NULL);
INSERT INTO messages VALUES(5,'boss:s',replace('worker:s\ntester:t','\n',char(10)),'news','"to two"',2,NULL,NULL,NULL,NULL,NULL,1732364474446146,NULL);
INSERT INTO messages VALUES(6,'boss:s','worker:s','question','{"n":1.5,"none":null}',1,NULL,'talk',NULL,NULL,NULL,1732364474446230,NULL);
INSERT INTO messages VALUES(7,'worker:s','boss:s','answer','"☃ and 🐦"',1,NULL,'talk',6,NULL,'key-1',1732364474446314,NULL);
INSERT INTO messages VALUES(8,'boss:s','worker:s','later','"delayed"',1,NULL,NULL,NULL,NULL,NULL,1732364474446520,NULL);
INSERT INTO messages VALUES(9,'boss:s','tester:t','brief','"expired and noticed"',1,NULL,NULL,NULL,NULL,NULL,1732364474446583,1732364474456583);
INSERT INTO messages VALUES(10,'boss:s','seen:u','note','"delivered"',1,NULL,NULL,NULL,NULL,NULL,1732364474446645,NULL);
INSERT INTO messages VALUES(11,'boss:s','worker:s','large','"large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large large "',1,NULL,NULL,NULL,NULL,NULL,1732364474447042,NULL);
INSERT INTO messages VALUES(12,'boss:s','crash:s','job','0',1,NULL,NULL,NULL,NULL,NULL,1732364474552612,NULL);
INSERT INTO messages VALUES(13,'boss:s','crash:s','job','1',1,NULL,NULL,NULL,NULL,NULL,1732364474552682,NULL);
INSERT INTO messages VALUES(14,'boss:s','crash:s','job','2',1,NULL,NULL,NULL,NULL,NULL,1732364474552702,NULL);
INSERT INTO messages VALUES(15,'boss:s','crash:s','job','3',1,NULL,NULL,NULL,NULL,NULL,1732364474552716,NULL);
INSERT INTO messages VALUES(16,'boss:s','crash:s','job','4',1,NULL,NULL,NULL,NULL,NULL,1732364474552731,NULL);
INSERT INTO messages VALUES(17,'boss:s','crash:s','job','5',1,NULL,NULL,NULL,NULL,NULL,1732364474552745,NULL);
INSERT INTO messages VALUES(18,'boss:s','tester:t','brief','"expired, unnoticed"',1,NULL,NULL,NULL,NULL,NULL,1732364474563431,1732364474573431);
INSERT INTO messages VALUES(19,'shell:s','worker:s','note','"by SQL"',1,'["sql"]',NULL,NULL,NULL,NULL,1732364474592000,NULL);
CREATE TABLE deliveries (
    id           INTEGER PRIMARY KEY,
    message_id   INTEGER GENERATED ALWAYS AS (id >> 20) VIRTUAL,
    recipient    TEXT NOT NULL,
    urgency      INTEGER NOT NULL,
    state        INTEGER NOT NULL DEFAULT 0,
    ready_at     INTEGER NOT NULL DEFAULT 0,   -- 0: ready now; else the time at which its delay or its lease ends
    lease        INTEGER,                      -- token of the claim that holds it, or NULL
    attempts     INTEGER NOT NULL DEFAULT 0,
    delivered_at INTEGER,
    finished_at  INTEGER,
    expires_at   INTEGER,
    reason       TEXT                          -- why it was given back, or died
) STRICT;
INSERT INTO deliveries VALUES(2097152,'worker:s',0,0,0,NULL,0,NULL,NULL,4795436474392448,NULL);
INSERT INTO deliveries VALUES(3145728,'idle:s',1,0,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(3145729,'worker:s',1,0,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(4194304,'idle:s',1,0,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(4194305,'seen:u',1,1,0,NULL,0,1732364474446690,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(4194306,'tester:t',1,2,0,NULL,1,1732364474505643,1732364474505643,NULL,NULL);
INSERT INTO deliveries VALUES(4194307,'worker:s',1,0,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(5242880,'worker:s',2,0,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(5242881,'tester:t',2,0,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(6291456,'worker:s',1,2,0,NULL,0,1732364474446473,1732364474446473,NULL,NULL);
INSERT INTO deliveries VALUES(7340032,'boss:s',1,0,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(8388608,'worker:s',1,0,4795436474446520,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(9437184,'tester:t',1,3,0,NULL,0,NULL,1732364474505643,1732364474456583,NULL);
INSERT INTO deliveries VALUES(10485760,'seen:u',1,1,0,NULL,0,1732364474446690,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(11534336,'worker:s',1,0,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(12582912,'crash:s',1,2,0,NULL,1,1732364474560879,1732364474560879,NULL,NULL);
INSERT INTO deliveries VALUES(13631488,'crash:s',1,2,0,NULL,1,1732364474561338,1732364474561338,NULL,NULL);
INSERT INTO deliveries VALUES(14680064,'crash:s',1,0,1732364479561338,53389572769982959,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(15728640,'crash:s',1,0,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(16777216,'crash:s',1,0,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(17825792,'crash:s',1,0,0,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO deliveries VALUES(18874368,'tester:t',1,0,0,NULL,0,NULL,NULL,1732364474573431,NULL);
INSERT INTO deliveries VALUES(19922944,'worker:s',1,0,0,NULL,0,NULL,NULL,NULL,NULL);
CREATE TABLE identities (
    address       TEXT PRIMARY KEY,
    role          TEXT NOT NULL,
    session       TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    last_seen     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO identities VALUES('boss:s','boss','s',1732364474390057,1732364474390057);
INSERT INTO identities VALUES('crash:s','crash','s',1732364474559034,1732364474559034);
INSERT INTO identities VALUES('idle:s','idle','s',1732364474392094,1732364474392094);
INSERT INTO identities VALUES('seen:u','seen','u',1732364474392027,1732364474392027);
INSERT INTO identities VALUES('tester:t','tester','t',1732364474391373,1732364474391373);
INSERT INTO identities VALUES('worker:s','worker','s',1732364474390715,1732364474390715);
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES('created_at','2024-11-23T12:21:14Z');
CREATE UNIQUE INDEX messages_dedup ON messages (sender, dedup_key) WHERE dedup_key IS NOT NULL;
CREATE INDEX messages_correlation ON messages (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX messages_reply ON messages (reply_to) WHERE reply_to IS NOT NULL;
CREATE INDEX messages_task ON messages (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX deliveries_open ON deliveries (recipient, ready_at, urgency) WHERE state < 2;
CREATE INDEX deliveries_expiry ON deliveries (expires_at) WHERE state < 2 AND expires_at IS NOT NULL;
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
         WHERE id >= m.id << 20 AND id < (m.id + 1) << 20) AS finished_at
  FROM messages AS m;
CREATE VIEW pending AS
SELECT m.id,
       d.recipient,
       m.sender,
       m.type,
       m.body,
       CASE m.urgency WHEN 0 THEN 'blocking' WHEN 1 THEN 'prompt' ELSE 'fyi' END AS urgency,
       CASE WHEN d.ready_at > (julianday('now') - 2440587.5) * 86400e6
            THEN CASE WHEN d.lease IS NULL THEN 'delayed' ELSE 'leased' END
            WHEN d.state = 1 THEN 'delivered' ELSE 'sent' END AS state,
       d.attempts,
       strftime('%Y-%m-%dT%H:%M:%fZ', m.created_at / 1e6, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', d.expires_at / 1e6, 'unixepoch') AS expires_at
  FROM deliveries AS d
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.state < 2
   AND (d.expires_at IS NULL OR d.expires_at > (julianday('now') - 2440587.5) * 86400e6)
 ORDER BY d.recipient, d.urgency, d.id;
CREATE VIEW outbox AS
SELECT sender, "to" AS recipient, type, body,
       CASE urgency WHEN 0 THEN 'blocking' WHEN 1 THEN 'prompt' ELSE 'fyi' END AS urgency,
       tags, correlation_id, reply_to, task_id, dedup_key,
       NULL AS expires_in_s, NULL AS delay_s
  FROM messages;
CREATE TRIGGER outbox_insert INSTEAD OF INSERT ON outbox
BEGIN
    -- The rules of address.py. The last line finds text that is no UTF-8: built anew from its characters it differs.
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
        OR text <> (SELECT group_concat(char(unicode(substr(text, key + 1, 1))), '')
                      FROM json_each('[' || substr(replace(hex(zeroblob(length(text))), '00', ',0'), 2) || ']'));

    SELECT CASE
        WHEN NEW.type IS NULL OR typeof(NEW.type) <> 'text' OR trim(NEW.type) = '' OR length(NEW.type) > 1024
        THEN RAISE(ABORT, 'raven: type must be a text that is not empty')
        WHEN NEW.body IS NULL OR typeof(NEW.body) = 'blob' OR NOT json_valid(NEW.body)
        THEN RAISE(ABORT, 'raven: body must be JSON; make plain text JSON with json_quote(...)')
        WHEN coalesce(NEW.urgency, 'prompt') NOT IN ('blocking', 'prompt', 'fyi')
        THEN RAISE(ABORT, 'raven: urgency must be blocking, prompt or fyi')
        WHEN NEW.tags IS NOT NULL AND (NOT json_valid(NEW.tags) OR json_type(NEW.tags) <> 'array')
        THEN RAISE(ABORT, 'raven: tags must be a JSON array of texts')
        WHEN NEW.tags IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(NEW.tags) WHERE type <> 'text')
        THEN RAISE(ABORT, 'raven: tags must be a JSON array of texts')
        WHEN NEW.expires_in_s IS NOT NULL AND (typeof(NEW.expires_in_s) NOT IN ('integer', 'real')
                                               OR NEW.expires_in_s < 1e-6 OR NEW.expires_in_s > 3153600000)
        THEN RAISE(ABORT, 'raven: expires_in_s must be a number of seconds above 0, at most 100 years')
        WHEN NEW.delay_s IS NOT NULL AND (typeof(NEW.delay_s) NOT IN ('integer', 'real')
                                          OR NEW.delay_s < 0 OR NEW.delay_s > 3153600000)
        THEN RAISE(ABORT, 'raven: delay_s must be a number of seconds, 0 or more, at most 100 years')
        WHEN NEW.reply_to IS NOT NULL AND typeof(NEW.reply_to) <> 'integer'
        THEN RAISE(ABORT, 'raven: reply_to must be the id of a message')
        WHEN instr(NEW.recipient, '*') AND NOT EXISTS (
             SELECT 1 FROM identities
              WHERE substr(NEW.recipient, 1, instr(NEW.recipient, ':') - 1) IN ('*', role)
                AND substr(NEW.recipient, instr(NEW.recipient, ':') + 1) IN ('*', session))
        THEN RAISE(ABORT, 'raven: nobody is registered who matches that recipient')
    END;

    -- A sender's dedup_key that is already there stores nothing, and then nothing below does.
    INSERT INTO messages (sender, "to", type, body, urgency, tags, correlation_id, reply_to, task_id, dedup_key,
                          created_at, expires_at)
    SELECT NEW.sender, NEW.recipient, NEW.type, NEW.body,
           CASE NEW.urgency WHEN 'blocking' THEN 0 WHEN 'fyi' THEN 2 ELSE 1 END,
           NEW.tags, NEW.correlation_id, NEW.reply_to, NEW.task_id, NEW.dedup_key, clock.now,
           clock.now + CAST(NEW.expires_in_s * 1e6 AS INTEGER)
      FROM (SELECT CAST(round((julianday('now') - 2440587.5) * 86400e3) AS INTEGER) * 1000 AS now) AS clock
     WHERE NEW.dedup_key IS NULL
        OR NOT EXISTS (SELECT 1 FROM messages WHERE sender = NEW.sender AND dedup_key = NEW.dedup_key);

    INSERT INTO deliveries (id, recipient, urgency, ready_at, expires_at)
    SELECT (m.id << 20) + row_number() OVER (ORDER BY r.address) - 1, r.address, m.urgency,
           CASE WHEN NEW.delay_s > 0 THEN m.created_at + CAST(NEW.delay_s * 1e6 AS INTEGER) ELSE 0 END, m.expires_at
      FROM messages AS m,
           (SELECT NEW.recipient AS address WHERE NOT instr(NEW.recipient, '*')
             UNION ALL
            SELECT address FROM identities
             WHERE instr(NEW.recipient, '*') AND address <> NEW.sender
               AND substr(NEW.recipient, 1, instr(NEW.recipient, ':') - 1) IN ('*', role)
               AND substr(NEW.recipient, instr(NEW.recipient, ':') + 1) IN ('*', session)) AS r
     WHERE m.id = last_insert_rowid() AND changes() > 0;
END
;
COMMIT;
PRAGMA application_id = 1380013646;
PRAGMA user_version = 1;
