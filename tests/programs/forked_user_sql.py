"""Run SQL of its own before a fork, and on both sides after it: `forked_user_sql.py DB`."""

import json
import os
import sys

from raven import BusClient, StatementError

bus = BusClient.at("forker:s", sys.argv[1])
bus.execute("CREATE TABLE own (name TEXT)")
pid = os.fork()
name = "parent" if pid else "child"
if pid:
    os.waitpid(pid, 0)
bus.execute("INSERT INTO own VALUES (?)", (name,))
try:
    bus.execute("DELETE FROM messages")
    refused = False
except StatementError:
    refused = True
bus.send("worker:s", "note", name)
print(json.dumps({"name": name, "refused": refused}), flush=True)
