"""Fork inside a transaction: the child may not write in it, the parent goes on: `forked_transaction.py DB ADDRESS`."""

import json
import os
import sys

from raven import BusClient, DatabaseError

db, address = sys.argv[1:]
bus = BusClient.at("forker:s", db)
errors = []
try:
    with bus.transaction() as tx:
        tx.send(address, "note", "before the fork")
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        try:
            tx.send(address, "note", "after the fork")
        except DatabaseError as error:
            errors.append(str(error))
except DatabaseError as error:
    errors.append(str(error))
print(json.dumps({"is_child": not pid, "errors": errors}), flush=True)
