"""Dump the contents of a bus with Python's own sqlite3: `python -m scripts.stress.history.dump DB`.

It answers each line of its input with a line: `open` with the number of unfinished deliveries by recipient, `dump` with
all messages, deliveries and effects, `check` with the result of SQLite's integrity check.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from typing import Any

from scripts.stress.history.journal import digest, token_of

_STATES = ("sent", "delivered", "acked", "expired", "dead")
_URGENCIES = ("blocking", "prompt", "fyi")


def dump(bus: sqlite3.Connection) -> dict[str, list[Any]]:
    """Return the contents of the bus, as JSON for `history.dump_of`, read in one transaction."""
    bus.execute("BEGIN")
    messages = [
        (id, sender, token_of(body), digest(body), _URGENCIES[urgency], key)
        for id, sender, body, urgency, key in (
            (row[0], row[1], json.loads(row[2]), *row[3:])
            for row in bus.execute("SELECT id, sender, body, urgency, dedup_key FROM messages ORDER BY id")
        )
    ]
    deliveries = [
        (id, recipient, _STATES[state], attempts, most, None if finished is None else finished / 1e6)
        for id, recipient, state, attempts, most, finished in bus.execute(
            "SELECT id >> 20, recipient, state, attempts, max_attempts, finished_at FROM deliveries ORDER BY id"
        )
    ]
    effects = bus.execute("SELECT message, process FROM trial_effects").fetchall()
    bus.execute("COMMIT")
    return {"messages": messages, "deliveries": deliveries, "effects": effects}


def main() -> None:
    """Answer until the end of the input."""
    bus = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
    for line in sys.stdin:
        answer: Any
        if line.strip() == "open":
            answer = bus.execute("SELECT recipient, count(*) FROM deliveries WHERE state < 2 GROUP BY 1").fetchall()
        elif line.strip() == "check":
            answer = "; ".join(str(row[0]) for row in bus.execute("PRAGMA integrity_check"))
        else:
            answer = dump(bus)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
