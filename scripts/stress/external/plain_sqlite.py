"""Run statements with Python's own SQLite: `python -m scripts.stress.external.plain_sqlite DB [--hold] STATEMENT...`.

It prints the rows, one per line; it also accepts `.backup PATH` and `.restore PATH`. With `--hold` it prints a line
after all statements, then runs each line of its input, and stays until it is killed or its input ends.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing


def _run(connection: sqlite3.Connection, statement: str) -> None:
    if statement.startswith(".timeout"):
        connection.execute(f"PRAGMA busy_timeout = {int(statement.split()[1])}")
    elif statement.startswith(".backup "):
        with closing(sqlite3.connect(statement.split(maxsplit=1)[1])) as target:
            connection.backup(target)
    elif statement.startswith(".restore "):
        with closing(sqlite3.connect(statement.split(maxsplit=1)[1])) as source:
            source.backup(connection)
    else:
        for row in connection.execute(statement).fetchall():
            print("|".join(map(str, row)))


def main() -> None:
    db, *statements = sys.argv[1:]
    holds = statements[:1] == ["--hold"]
    connection = sqlite3.connect(db, timeout=60, isolation_level=None)
    for statement in statements[holds:]:
        _run(connection, statement)
    if holds:
        print("held", flush=True)
        for line in sys.stdin:
            _run(connection, line)
            print("done", flush=True)


if __name__ == "__main__":
    main()
