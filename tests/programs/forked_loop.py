"""Fork inside a loop: the child's copy of it ends without a word: `forked_loop.py DB ADDRESS`."""

import os
import sys

from raven import BusClient

db, address = sys.argv[1:]
bus = BusClient.at(address, db)
bus.send(address, "note")
for _ in bus.listen(timeout_s=10):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        break
else:
    print('"the child\'s loop has ended"', flush=True)
