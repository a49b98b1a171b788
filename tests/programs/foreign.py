"""A foreign SQLite client: run each `[sql, params]` that comes in, answer with its rows or its error."""

import json
import sqlite3
import sys

connection = None
for line in sys.stdin:
    sql, params = json.loads(line)
    # Opened late: to open a file that is not there would make it.
    connection = connection or sqlite3.connect(sys.argv[1], timeout=5, isolation_level=None)
    try:
        answer = {"rows": connection.execute(sql, params).fetchall()}
    except sqlite3.Error as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
