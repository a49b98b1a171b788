"""Hold a transaction on a bus, in SQLite's own words: `lock_keeper.py DB STATEMENT...`; each further line is run."""

import json
import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("1", flush=True)
for line in sys.stdin:
    print(json.dumps(connection.execute(json.loads(line)).fetchall()), flush=True)
