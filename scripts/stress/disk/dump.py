"""Dump a bus as another client, with Python's own `sqlite3`; each input line is one request, in JSON.

`["open", path]`, `["dump"]`: a digest of all rows and their counts by kind, `["write"]`: send through the view,
`["close"]`. The answer to an error of SQLite is `{"error": ...}`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from typing import Any

_KINDS = "SELECT state, lease IS NOT NULL, attempts, count(*) FROM deliveries GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
_HALF = """
    SELECT count(*) FROM messages WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.id >> 20 = messages.id)
"""
_SEND = "INSERT INTO outbox (sender, recipient, type, body) VALUES ('other_client:s', 'boss:s', 'note', '1')"


def dump(connection: sqlite3.Connection) -> dict[str, Any]:
    connection.execute("BEGIN")
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")]
    digest, counts = hashlib.sha256(), {}
    for table in tables:
        rows = connection.execute(f'SELECT * FROM "{table}" ORDER BY 1').fetchall()
        counts[table] = len(rows)
        digest.update(repr((table, rows)).encode())
    is_bus = "deliveries" in tables
    contents = {
        "digest": digest.hexdigest(),
        "counts": counts,
        "kinds": connection.execute(_KINDS).fetchall() if is_bus else [],
        "half": connection.execute(_HALF).fetchone()[0] if is_bus else 0,
        "unfinished": [
            row[0]
            for row in connection.execute("SELECT id >> 20 FROM deliveries WHERE state < 2 AND recipient = 'worker:s'")
        ]
        if is_bus
        else [],
        "check": connection.execute("PRAGMA integrity_check").fetchone()[0],
    }
    connection.execute("COMMIT")
    return contents


def main() -> None:
    connection: sqlite3.Connection | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if request[0] == "open":
                connection = sqlite3.connect(request[1], isolation_level=None, timeout=10)
            elif connection is None:
                answer = {"error": "nothing is open"}
            elif request[0] == "dump":
                answer = dump(connection)
            elif request[0] == "write":
                connection.execute(_SEND)
            else:
                connection.close()
        except sqlite3.Error as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
