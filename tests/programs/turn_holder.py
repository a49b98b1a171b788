"""Hold the turn to write, as a writer does that waits for the write lock, until a line comes: `turn_holder.py DB`."""

import json
import select
import sys

from raven.files.turnstile import Turn

turn = Turn(sys.argv[1], 3600)
assert turn.may_try()
print(json.dumps("first"), flush=True)
while turn.wait() and not select.select([sys.stdin], [], [], 0)[0]:
    pass
