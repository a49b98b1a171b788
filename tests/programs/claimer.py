"""Claim and ack all there is, once a line comes in: `claimer.py DB ADDRESS MAX`; prints the ids of each claim."""

import json
import sys

from raven import BusClient

db, address, most = sys.argv[1:]
bus = BusClient.at(address, db, busy_timeout_s=60)
print("1", flush=True)
sys.stdin.readline()
while messages := bus.claim(max=int(most)):
    for message in messages:
        bus.ack(message.id)
    print(json.dumps([message.id for message in messages]), flush=True)
