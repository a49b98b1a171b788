"""Fork, again and again, while threads use one client of a server; each child asks, too: `rpc_forker.py SOCKET`."""

import json
import os
import signal
import sys
import threading

from raven_rpc import Client

CHILDREN = 20
bus = Client(sys.argv[1], "boss:s")
is_over = threading.Event()
lost = []


def ask():
    while not is_over.is_set():
        sent = bus.send("worker:s", "note", os.getpid())
        if bus.read(sent.id).body != os.getpid():
            lost.append("an answer of the parent's")


thread = threading.Thread(target=ask)
bus.last_id()
thread.start()
for number in range(CHILDREN):
    child = os.fork()
    if not child:
        signal.alarm(10)  # a child that hangs is an error, too
        answered = bus.send("worker:s", "note", number).body == number and bus.last_id() > 0
        os._exit(0 if answered else 3)
    if status := os.waitpid(child, 0)[1]:
        lost.append(f"child {number} ended with {os.waitstatus_to_exitcode(status)}")
        break
is_over.set()
thread.join()
print(json.dumps({"lost": lost, "children": number + 1}), flush=True)
