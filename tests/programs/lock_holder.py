"""Hold the write lock of a bus, in SQLite's own words, until a line comes in: `lock_holder.py DB`."""

import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("1", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
print("2", flush=True)
