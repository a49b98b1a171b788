"""Fork in every way while threads use the client: `... forking DB ADDRESS SEED SECONDS`.

Each child sends with its parent's client, and with one of its own, and ends in one way or another; meanwhile the
parent's threads write, hold transactions and wait in `listen`. What was sent comes exactly once, and no child hangs.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from raven import BusClient
from scripts.stress.report import Report

_PATIENCE_S = 30
_ENDS = ("return", "sys.exit", "os._exit", "exception")
_METHODS = ("fork", "forkserver", "spawn")


def send_as_own(db: str, address: str, body: str) -> int:
    """Send with a client of this process's own; what the processes of multiprocessing run."""
    with BusClient.at(f"child-of-{address}", db, busy_timeout_s=30, register=False) as bus:
        return bus.send(address, "note", body).id


class Forking:
    """One process with threads, and what its children and itself have sent."""

    def __init__(self, db: str, address: str) -> None:
        self._db = db
        self._address = address
        self._over = threading.Event()
        self._all_sent = threading.Event()
        self._bus = BusClient.at(f"parent-of-{address}", db, busy_timeout_s=30, register=False)
        self._receiver = BusClient.at(address, db, busy_timeout_s=30, register=False)
        self._sent: list[str] = []
        self._got: list[str] = []
        self.report = Report()

    def write(self) -> None:
        """Send, one by one and many in a transaction, over the one client of all."""
        number = 0
        while not self._over.wait(0.001):
            number += 1
            body = f"{threading.get_ident()}-{number}"
            if number % 3:
                self._bus.send(self._address, "note", body)
            else:
                with self._bus.transaction() as tx:
                    tx.send(self._address, "note", body)
                    self._over.wait(0.003)
            self._sent.append(body)

    def listen(self) -> None:
        """Take what comes until all has come, in loops that end and begin again."""
        give_up_at = float("inf")
        while not (self._all_sent.is_set() and len(self._got) >= len(self._sent)) and time.monotonic() < give_up_at:
            self._got.extend(msg.body for msg in self._receiver.listen(timeout_s=0.1, poll_interval_s=0.5))
            if self._all_sent.is_set():
                give_up_at = min(give_up_at, time.monotonic() + _PATIENCE_S)

    def run(self, seed: int, seconds: float) -> None:
        """Fork until the time is over, and count."""
        chance = random.Random(seed)
        writers = [threading.Thread(target=self.write) for _ in range(2)]
        listener = threading.Thread(target=self.listen)
        for thread in (*writers, listener):
            thread.start()
        number = 0
        try:
            for method in _METHODS:
                self._send_from_a_pool(method)
            give_up_at = time.monotonic() + seconds
            while time.monotonic() < give_up_at:
                number += 1
                self._fork(f"child-{number}", chance.choice(_ENDS))
                time.sleep(chance.random() * 0.01)
        finally:
            self._over.set()
            for thread in writers:
                thread.join()
            self._all_sent.set()
            listener.join()
        sent, got = Counter(self._sent), Counter(self._got)
        if sent - got:
            self.report.report("lost", f"beside forks: {sorted(sent - got)[:5]}")
        if got - sent:
            self.report.report("duplicated", f"beside forks: {sorted(got - sent)[:5]}")

    def _fork(self, name: str, end: str) -> None:
        pid = os.fork()
        if not pid:
            signal.alarm(_PATIENCE_S)  # a child that hangs is killed, and found
            self._be_child(name, end)
        self.report.count("forks")
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code != (0 if end != "exception" else 1):
            self.report.report("broken", f"a forked child that should end by {end} ended with {code}")
        else:
            self._sent += [f"{name} inherited", f"{name} own"]

    def _be_child(self, name: str, end: str) -> None:
        code = 7
        try:
            self._bus.send(self._address, "note", f"{name} inherited")
            send_as_own(self._db, self._address, f"{name} own")
            code = 0
            if end == "sys.exit":
                sys.exit(0)
            if end == "exception":
                code = 1
                raise ValueError
        except (SystemExit, ValueError):
            pass
        finally:
            if end in ("return", "sys.exit"):
                # What an interpreter does at its end, but for the threads of which there are none here.
                import atexit

                atexit._run_exitfuncs()
            os._exit(code)

    def _send_from_a_pool(self, method: str) -> None:
        bodies = [f"{method} {number}" for number in range(4)]
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            count = len(bodies)
            list(pool.map(send_as_own, [self._db] * count, [self._address] * count, bodies, timeout=_PATIENCE_S))
        process = context.Process(target=send_as_own, args=(self._db, self._address, f"{method} alone"))
        process.start()
        process.join(_PATIENCE_S)
        if process.exitcode != 0:
            self.report.report("broken", f"a process that was begun by {method} ended with {process.exitcode}")
            process.kill()
        self._sent += [*bodies, f"{method} alone"]
        self.report.count("multiprocessing processes", 3)


def main() -> None:
    db, address, seed, seconds = sys.argv[1:]
    forking = Forking(db, address)
    forking.run(int(seed), float(seconds))
    forking.report.print()


if __name__ == "__main__":
    main()
