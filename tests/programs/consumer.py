"""Take messages at least once and tell of each: `consumer.py DB ADDRESS '{"mode": "claim", ...}'`.

Each message is printed as it is had in hand, with the moment it came; then comes a line that says what to do with it:
`ack` (and print the outcome), or anything else to leave it. `mode`: `claim` (once, all ready messages, with its
options) or `listen` (a manual loop, with its options); with `works` nothing is asked: each message is acked at once.
"""

import json
import sys
import time

from raven import BusClient, RavenError

db, address = sys.argv[1:3]
options = json.loads(sys.argv[3])
mode, works = options.pop("mode"), options.pop("works", False)
bus = BusClient.at(address, db)


def show(**line):
    print(json.dumps(line), flush=True)


for message in bus.claim(**options) if mode == "claim" else bus.listen(ack="manual", **options):
    show(id=message.id, attempts=message.attempts, heard_at=time.monotonic())
    if works or json.loads(sys.stdin.readline()) == "ack":
        try:
            bus.ack(message.id)
            show(acked=message.id)
        except RavenError as error:
            show(error=type(error).__name__)
