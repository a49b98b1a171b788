"""A foreign SQLite client: run each `[sql, params]` that comes in, answer with its rows or its error.

The bus is the one argument, or the path that came last as `{"open": path}`, which ends the connection before it.
"""

import json
import sqlite3
import sys

path = sys.argv[1] if len(sys.argv) > 1 else None
connection = None
for line in sys.stdin:
    asked = json.loads(line)
    if isinstance(asked, dict):
        if connection is not None:
            connection.close()
        path, connection, answer = asked["open"], None, {}
    else:
        # Opened late: to open a file that is not there would make it.
        connection = connection or sqlite3.connect(path, timeout=5, isolation_level=None)
        try:
            answer = {"rows": connection.execute(*asked).fetchall()}
        except sqlite3.Error as error:
            answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
