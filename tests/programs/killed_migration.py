"""Upgrade a bus file and die by SIGKILL just before the given statement of it: `killed_migration.py DB NUMBER`.

Prints the number of statements if the upgrade has fewer.
"""

import os
import signal
import sys
from itertools import count

import apsw

from raven.store.migrations import migrate

db, number = sys.argv[1], int(sys.argv[2])
statements = count(1)


def die_at(cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
    """Count a statement; at the chosen one, die."""
    if next(statements) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return True


connection = apsw.Connection(db)
connection.exec_trace = die_at
migrate(connection)
print(next(statements) - 1, flush=True)
