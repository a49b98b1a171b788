"""Read without a pause, so that at any moment one read at least is under way: `busy_reader.py DB THREADS`.

By Python's own `sqlite3`, in threads with a connection each; every read takes some 100 ms.
"""

import sqlite3
import sys
import threading

SLOW = """
WITH RECURSIVE count (n) AS (SELECT max(id) FROM messages UNION ALL SELECT n + 1 FROM count LIMIT 300000)
SELECT max(n) FROM count
"""

db, threads = sys.argv[1], int(sys.argv[2])


def read():
    connection = sqlite3.connect(db, timeout=60)
    while True:
        connection.execute(SLOW).fetchall()


for _ in range(threads):
    threading.Thread(target=read, daemon=True).start()
print("1", flush=True)
sys.stdin.readline()
