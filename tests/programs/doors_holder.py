"""Hold doors as a relay does: `doors_holder.py DB {"ADDRESS": WAITS, ...} [fork | RECIPIENT ...]`.

It prints the number of its descriptor once they are there. With `fork`, a child uses its copy of the doors first, with
a pipe of its own at that number, and prints the rest of that pipe.
"""

import json
import os
import sys

from raven import BusClient
from raven.wake.doors import Doors, ReceiptDoors

db, waits = sys.argv[1:3]
handle = BusClient.at("holder:s", db)._handle
doors = Doors(handle)
doors.set(json.loads(waits))
while doors.is_behind:  # a slow machine has no time for all of them in one call
    doors.tick()
receipts = ReceiptDoors(handle)
receipts.hear(address for address in sys.argv[3:] if ":" in address)
while receipts.is_behind:
    receipts.tick()
forks = sys.argv[3:] == ["fork"]
if forks and not os.fork():
    reader, writer = os.pipe()
    os.write(writer, b"mine")
    os.dup2(reader, doors.fileno())
    os.set_blocking(doors.fileno(), False)
    doors.drain()
    doors.set({"other:s": True})
    doors.tick()
    doors.close()
    print(json.dumps(os.read(doors.fileno(), 100).decode()), flush=True)
    os._exit(0)
if forks:
    os.wait()
print(doors.fileno(), flush=True)
sys.stdin.readline()
doors.close()
receipts.close()
