"""Fork while a manual loop holds a message: `forked_holder.py DB ADDRESS`.

The child ends its copy of the loop, and itself; then the parent, still holding, acks once a line comes in.
"""

import os
import sys

from raven import BusClient

db, address = sys.argv[1:]
bus = BusClient.at(address, db)
loop = bus.listen(ack="manual", lease_s=0.6)
message = next(loop)
child = os.fork()
if not child:
    rest = [one.id for one in loop]
    loop.close()
    sys.exit(len(rest))
_, status = os.waitpid(child, 0)
print(status, flush=True)
sys.stdin.readline()
bus.ack(message.id)
print(message.id, flush=True)
