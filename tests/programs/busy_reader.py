"""Read without a pause, so that at any moment one read at least is under way: `busy_reader.py DB THREADS`.

By Python's own `sqlite3`, in threads with a connection each; every read takes 100 ms, on a busy machine, too.
"""

import sqlite3
import sys
import threading
import time

db, threads = sys.argv[1], int(sys.argv[2])


def read():
    connection = sqlite3.connect(db, timeout=60, isolation_level=None)
    while True:
        connection.execute("BEGIN")
        connection.execute("SELECT max(id) FROM messages").fetchall()
        time.sleep(0.1)
        connection.execute("COMMIT")


for _ in range(threads):
    threading.Thread(target=read, daemon=True).start()
print("1", flush=True)
sys.stdin.readline()
