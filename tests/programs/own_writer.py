"""Run SQL of its own in one transaction, each statement after a line of input: `own_writer.py DB STATEMENT...`."""

import sys

from raven import BusClient

db, *statements = sys.argv[1:]
bus = BusClient.at("writer:s", db)
with bus.transaction() as tx:
    for statement in statements:
        tx.execute(statement)
        print("1", flush=True)
        sys.stdin.readline()
print("2", flush=True)
