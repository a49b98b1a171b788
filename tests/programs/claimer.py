"""Claim once when a line comes in, and all there is after another: `claimer.py DB ADDRESS MAX`; prints each claim."""

import json
import sys

from raven import BusClient

db, address, most = sys.argv[1:]
bus = BusClient.at(address, db, busy_timeout_s=60)
print("1", flush=True)
sys.stdin.readline()
first = True
while messages := bus.claim(max=int(most)):
    for message in messages:
        bus.ack(message.id)
    print(json.dumps([message.id for message in messages]), flush=True)
    if first:
        sys.stdin.readline()
        first = False
