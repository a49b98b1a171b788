"""Open a bus at the moment a line comes in, and send one message: `opener.py DB ADDRESS`."""

import sys

from raven import BusClient

db, address = sys.argv[1:]
BusClient.at  # imported by now
print("1", flush=True)
sys.stdin.readline()
BusClient.at(address, db).send("worker:s", "hello", address)
print("2", flush=True)
