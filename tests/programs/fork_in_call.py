"""Fork while another thread, in a transaction, needs something else: `fork_in_call.py DB OTHER_DB WHAT`.

WHAT is `other` (a second client, an open one), `new` (one that is not open yet) or `fork` (a child of its own).
It prints a line when both have come to their ends.
"""

import os
import sys
import threading
import time

from raven import BusClient

db, other_db, what = sys.argv[1:]
first = BusClient.at("forker:s", db)
second = BusClient.at("forker:s", other_db)
third = BusClient.at("forker:s", other_db)
in_transaction = threading.Event()


def work():
    with first.transaction() as tx:
        tx.send("worker:s", "note")
        in_transaction.set()
        time.sleep(0.3)  # so that the fork is under way
        if what == "new":
            BusClient.at("another:s", other_db).close()
        elif what == "fork":
            own = os.fork()
            if not own:
                os._exit(0)
            os.waitpid(own, 0)
        else:
            second.send("worker:s", "note")
            third.send("worker:s", "note")


thread = threading.Thread(target=work)
thread.start()
in_transaction.wait()
child = os.fork()
if not child:
    first.send("worker:s", "note")
    os._exit(0)
status = os.waitpid(child, 0)[1]
thread.join()
print(status, flush=True)
