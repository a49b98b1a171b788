"""Fork as daemons do: the child sends, the parent closes its client and goes, the child sends again: `daemon.py DB`."""

import os
import sys

from raven import BusClient

bus = BusClient.at("daemon:s", sys.argv[1])
bus.send("worker:s", "note", "parent")
child_waits, parent_goes = os.pipe()
parent_waits, child_sent = os.pipe()
if os.fork():
    os.close(child_sent)
    os.read(parent_waits, 1)
    bus.close()
    sys.exit()
os.close(parent_goes)
bus.send("worker:s", "note", "child, with its parent")
os.close(child_sent)
os.read(child_waits, 1)  # ends when the parent is gone, and its end of the pipe with it
bus.send("worker:s", "note", "child, alone")
print("1", flush=True)
