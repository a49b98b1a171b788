"""Dump files after a power cut with Python's own SQLite; it reads one path per line, and answers one line."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from contextlib import closing
from typing import Any

_FACTS = {
    "messages": "SELECT 'sent:' || json_extract(body, '$.n') FROM messages WHERE json_type(body, '$.n') = 'integer'",
    "deliveries": """
        SELECT 'acked:' || json_extract(m.body, '$.n') FROM messages AS m JOIN deliveries AS d ON d.message_id = m.id
        WHERE json_type(m.body, '$.n') = 'integer' AND d.state = 2""",
    "effects": "SELECT 'row:' || n FROM effects",
}


def dump(path: str) -> dict[str, Any]:
    """Return the integrity of a file, a digest of all its rows, and the facts of its messages."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        integrity = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
        tables = [
            row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")
        ]
        digest = hashlib.sha256()
        for pragma in ("application_id", "user_version"):
            digest.update(repr(connection.execute(f"PRAGMA {pragma}").fetchall()).encode())
        digest.update(repr(connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY 1").fetchall()).encode())
        for table in tables:
            digest.update(repr(connection.execute(f'SELECT * FROM "{table}"').fetchall()).encode())
        facts = [
            row[0] for table, sql in _FACTS.items() if table in tables for row in connection.execute(sql).fetchall()
        ]
        (vacuum,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    return {"integrity": "; ".join(integrity), "digest": digest.hexdigest(), "facts": facts, "auto_vacuum": vacuum}


def main() -> None:
    for line in sys.stdin:
        try:
            answer = dump(line.rstrip("\n"))
        except sqlite3.Error as error:
            answer = {"integrity": f"{type(error).__name__}: {error}", "digest": "", "facts": [], "auto_vacuum": 0}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    print("ready", flush=True)
    main()
