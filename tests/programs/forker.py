"""Fork with an open client; parent and child then both send and take, and each prints its messages: `forker.py DB`."""

import json
import os
import sys

from raven import BusClient

EACH = 20
bus = BusClient.at("worker:s", sys.argv[1])
bus.send("worker:s", "work", "before the fork")
pid = os.fork()
name = "parent" if pid else "child"
for number in range(EACH):
    bus.send("worker:s", "work", f"{name} {number}")
taken = []
for message in bus.listen(timeout_s=20):
    taken.append(message.body)
    # Each leaves its half to the other, and the parent takes the odd one.
    if len(taken) == EACH + bool(pid):
        break
# One write, so that the lines of the two processes cannot mix.
os.write(1, json.dumps({"name": name, "taken": taken}).encode() + b"\n")
if pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
