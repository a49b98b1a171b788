"""Hold doors and listen to all receipts, as a relay does: `doors_holder.py DB {"ADDRESS": WAITS, ...} [fork]`.

It prints the number of its descriptor once they are there. With `fork`, a child uses its copy of the doors first, with
a pipe of its own at that number, and prints the rest of that pipe.
"""

import json
import os
import sys

from raven import BusClient
from raven.wake.doorbell import ANY_RECEIPT
from raven.wake.doors import Doors
from raven.wake.listener import Listener

db, waits = sys.argv[1:3]
handle = BusClient.at("holder:s", db)._handle
doors = Doors(handle)
doors.set(json.loads(waits))
receipts = Listener(handle, ANY_RECEIPT, watch=False)
if sys.argv[3:] and not os.fork():
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
if sys.argv[3:]:
    os.wait()
print(doors.fileno(), flush=True)
sys.stdin.readline()
doors.close()
receipts.close()
