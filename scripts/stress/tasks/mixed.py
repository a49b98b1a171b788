"""Mix tasks, threads and transactions on the same clients: `... mixed DB SEED SECONDS CLIENTS LEDGER`.

It prints its report when all threads and tasks have ended, and ends at the next line of its input.
"""

from __future__ import annotations

import faulthandler
import gc
import random
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path

from raven import BusClient, ExpiredError
from scripts.stress.report import Report
from scripts.stress.signals.interrupted import LockProbe
from scripts.stress.tasks.actor import ADDRESSES
from scripts.stress.tasks.in_tasks import TaskActor, run_tasks
from scripts.stress.tasks.in_threads import ThreadActor
from scripts.stress.tasks.ledger import Ledger

_TASKS = 6
_THREADS = 3
_TIMEOUT_S = 60.0
_BUSY_TIMEOUT_S = 30.0


def main() -> None:
    db, seed, seconds, clients, ledger_path = sys.argv[1:]
    # A write through the client inside a transaction warns the program.
    warnings.simplefilter("ignore", DeprecationWarning)
    # Python prints errors of destroyed coroutines here.
    sys.unraisablehook = lambda unraisable: None
    chance, report, ledger = random.Random(int(seed)), Report(), Ledger()
    addresses = [chance.choice(ADDRESSES) for _ in range(int(clients))]
    buses = [BusClient.at(address, db, busy_timeout_s=_BUSY_TIMEOUT_S) for address in addresses]
    oracle = BusClient.at(f"oracle-{seed}:s", db, busy_timeout_s=_BUSY_TIMEOUT_S)
    end = time.monotonic() + float(seconds)
    tasks = [TaskActor(buses, oracle.address, ledger, report, chance.getrandbits(32)) for _ in range(_TASKS)]
    actors = [ThreadActor(buses, oracle.address, ledger, report, chance.getrandbits(32)) for _ in range(_THREADS)]
    threads = [threading.Thread(target=actor.run, args=(end,), daemon=True) for actor in actors]
    threads.append(threading.Thread(target=run_tasks, args=(tasks, end), daemon=True))
    answering = threading.Thread(target=_answer, args=(oracle,), daemon=True)
    for thread in (*threads, answering):
        thread.start()
    deadline = end + _TIMEOUT_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        report.report("broken", "a thread or task has not ended in time")
        faulthandler.dump_traceback()
    oracle.close()
    answering.join(_TIMEOUT_S)
    report.expect(not answering.is_alive(), "the loop that answers requests has not ended in time")
    gc.collect()
    for bus in buses:
        report.expect(LockProbe(bus).is_free(), "a lock of a client is still taken")
        report.expect(bus._store.open_block() is None, "a transaction is still open")
    report.expect(not ledger.blocks, f"{len(ledger.blocks)} transactions were never ended")
    ledger.dump(Path(ledger_path))
    report.print()
    sys.stdin.readline()


def _answer(oracle: BusClient) -> None:
    for request in oracle.listen():
        with suppress(ExpiredError):
            oracle.reply(request, "answer", request.body)


if __name__ == "__main__":
    main()
