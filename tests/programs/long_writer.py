"""Make transactions of S seconds one after the other until the input ends: `long_writer.py DB NUMBER S`.

It prints a line after the first one, and in the end how many there were.
"""

import json
import select
import sys
import time

from raven import BusClient

db, number, seconds = sys.argv[1:]
bus = BusClient.at(f"long-{number}:s", db)
count = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    with bus.transaction() as tx:
        tx.send("sink:s", "note")
        time.sleep(float(seconds))
    count += 1
    if count == 1:
        print(json.dumps(count), flush=True)
print(json.dumps(count), flush=True)
