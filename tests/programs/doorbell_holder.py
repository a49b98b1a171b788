"""Hang a doorbell, check that it is heard, and take it down, many times: `doorbell_holder.py DB ADDRESS COUNT`."""

import sys

from raven.wake.doorbell import Doorbells

db, address, count = sys.argv[1:]
heard = 0
for _ in range(int(count)):
    doorbells = Doorbells(db)
    bell = doorbells.create(address)
    doorbells.ring_each(address)
    heard += bell.wait(5)
    bell.close()
print(heard, flush=True)
