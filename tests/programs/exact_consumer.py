"""Consume one message in one transaction, each step after a line of input: `exact_consumer.py DB ADDRESS LEASE_S`.

It claims; acks, sends on and writes a row; commits. Each step prints a line, the last whether the lease was lost.
"""

import json
import sys

from raven import BusClient, LeaseLostError

db, address, lease_s = sys.argv[1:]
bus = BusClient.at(address, db)
(message,) = bus.claim(lease_s=float(lease_s))
print(json.dumps({"id": message.id, "attempts": message.attempts}), flush=True)
sys.stdin.readline()
lost = False
try:
    with bus.transaction() as tx:
        tx.execute("INSERT INTO done VALUES (?, 'consumer')", (message.id,))
        tx.send("next:s", "done", message.body)
        tx.ack(message.id)
        print(json.dumps("inside"), flush=True)
        sys.stdin.readline()
except LeaseLostError:
    lost = True
print(json.dumps({"lost": lost}), flush=True)
