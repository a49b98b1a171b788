"""Open one new bus after another, from the moment a line comes in, and send to each: `opener.py ADDRESS DB...`."""

import sys

from raven import BusClient

address, *buses = sys.argv[1:]
open_bus = BusClient.at  # the public name is imported when it is first used
print("1", flush=True)
sys.stdin.readline()
for db in buses:
    open_bus(address, db).send("worker:s", "hello", address)
print("2", flush=True)
