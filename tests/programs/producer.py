"""Send numbered messages to addresses in turn, once a line comes in: `producer.py DB ADDRESS COUNT RECIPIENT...`."""

import sys

from raven import BusClient

db, address, count, *recipients = sys.argv[1:]
bus = BusClient.at(address, db, busy_timeout_s=60)
print("1", flush=True)
sys.stdin.readline()
for number in range(int(count)):
    bus.send(recipients[number % len(recipients)], "work", number)
print("2", flush=True)
