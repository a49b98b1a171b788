"""Open a bus at the moment a line comes in, and send one message: `opener.py DB ADDRESS`."""

import sys

from raven import BusClient

db, address = sys.argv[1:]
open_bus = BusClient.at  # the public name is imported when it is first used
print("1", flush=True)
sys.stdin.readline()
open_bus(address, db).send("worker:s", "hello", address)
print("2", flush=True)
