"""Fork with an open listener; the child uses its copy, with other files at the numbers of its descriptors.

`forked_listener.py DB ADDRESS`: the child prints the rest of a pipe of its own, and the number of doorbells.
"""

import json
import os
import sys

from raven.host.bus import HostedBus

db, address = sys.argv[1:]
listener = HostedBus.at(address, db).pull_subscription().listener
child = os.fork()
if not child:
    reader, writer = os.pipe()
    os.write(writer, b"mine")
    os.dup2(reader, listener.fileno())
    os.set_blocking(listener.fileno(), False)
    listener.wait(0)
    listener.drain()
    listener.tick()
    left = os.read(listener.fileno(), 100).decode()
    print(json.dumps({"left": left, "bells": len(os.listdir(f"{db}-bells/{address}"))}), flush=True)
    os._exit(0)
os.waitpid(child, 0)
