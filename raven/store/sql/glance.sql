-- One session of a program, or all that have a process, each with the mail that waits at its address and was not shown
-- yet: by urgency, then by id. A row for no mail, or for that of a muted address, has no message.
SELECT a.native_id, a.address, a.pid, a.started, m.id, m.sender, m.type, d.urgency
  FROM raven_agents AS a
  LEFT JOIN deliveries AS d
    ON d.state < 2 AND d.leased = 0 AND d.recipient = a.address AND d.ready_at <= :now AND d.state = 0
       AND (d.expires_at IS NULL OR d.expires_at > :now)
  LEFT JOIN messages AS m
    ON m.id = d.id >> 20 AND NOT EXISTS (SELECT 1 FROM raven_mutes AS muted WHERE muted.address = m.sender)
 WHERE a.host = :host AND (a.native_id = :native_id OR :native_id IS NULL AND a.pid IS NOT NULL)
 ORDER BY a.native_id, d.urgency, d.id
 LIMIT :max
