"""Begin a transaction, and end in it: `... exit_in_transaction DB ADDRESS WAY`; ways: see _WAYS.

It prints a line when the transaction is open. With `kill` and `thread` it then waits for a signal.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading

from raven import BusClient

TABLE = "CREATE TABLE IF NOT EXISTS exit_rows (way TEXT)"
_WAYS = ("sys.exit", "os._exit", "exception", "kill", "abort", "sigterm", "thread", "atexit")


def main() -> None:
    db, address, way = sys.argv[1:]
    if way == "thread":
        opened = threading.Event()
        threading.Thread(target=_begin_and, args=(db, address, way, lambda: _stay(opened)), daemon=True).start()
        opened.wait()
    elif way == "atexit":
        atexit.register(_begin_and, db, address, way, lambda: sys.exit(1))
    else:
        ends = {
            "sys.exit": lambda: sys.exit(3),
            "os._exit": lambda: os._exit(3),
            "exception": lambda: 1 / 0,
            "kill": signal.pause,
            "abort": os.abort,
            "sigterm": lambda: signal.raise_signal(signal.SIGTERM),
        }
        _begin_and(db, address, way, ends[way])


def _begin_and(db: str, address: str, way: str, end: object) -> None:
    bus = BusClient.at(f"exiting-{way}:s", db, register=False, busy_timeout_s=10)
    with bus.transaction() as tx:
        [msg] = tx.claim()
        tx.ack(msg.id)
        tx.send(address, "note", way)
        tx.execute("INSERT INTO exit_rows VALUES (?)", (way,))
        print("open", flush=True)
        assert callable(end)
        end()


def _stay(opened: threading.Event) -> None:
    opened.set()
    threading.Event().wait()


if __name__ == "__main__":
    main()
