"""Send in one transaction that ends with a line of input: `transaction_sender.py DB ADDRESS BODY...`."""

import sys

from raven import BusClient

db, address, *bodies = sys.argv[1:]
bus = BusClient.at("grouper:s", db)
with bus.transaction() as tx:
    for body in bodies:
        tx.send(address, "note", body)
    print("1", flush=True)
    sys.stdin.readline()
print("2", flush=True)
