"""Fork in every way while threads use the client: `... forking DB ADDRESS SEED SECONDS`.

Each child sends with its parent's client and with a client of its own, and ends in one of several ways. Meanwhile the
parent's threads write, hold transactions and wait in `listen`. Every message must come exactly once, and no child may
hang.
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

_TIMEOUT_S = 30
_ENDS = ("return", "sys.exit", "os._exit", "exception")
_METHODS = ("fork", "forkserver", "spawn")


def send_as_own(db: str, address: str, body: str) -> int:
    """Send with a new client of this process; multiprocessing runs it."""
    with BusClient.at(f"child-of-{address}", db, busy_timeout_s=30, register=False) as bus:
        return bus.send(address, "note", body).id


class Forking:
    """A process with threads, and the messages that it and its children sent and received."""

    def __init__(self, db: str, address: str) -> None:
        self._db = db
        self._address = address
        self._stop = threading.Event()
        self._all_sent = threading.Event()
        self._bus = BusClient.at(f"parent-of-{address}", db, busy_timeout_s=30, register=False)
        self._receiver = BusClient.at(address, db, busy_timeout_s=30, register=False)
        self._sent: list[str] = []
        self._received: list[str] = []
        self.report = Report()

    def write(self) -> None:
        """Send with the shared client, by single sends and in transactions."""
        number = 0
        while not self._stop.wait(0.001):
            number += 1
            body = f"{threading.get_ident()}-{number}"
            if number % 3:
                self._bus.send(self._address, "note", body)
            else:
                with self._bus.transaction() as tx:
                    tx.send(self._address, "note", body)
                    self._stop.wait(0.003)
            self._sent.append(body)

    def listen(self) -> None:
        """Receive all messages, in loops that end and start again."""
        deadline = float("inf")
        while not (self._all_sent.is_set() and len(self._received) >= len(self._sent)) and time.monotonic() < deadline:
            self._received.extend(msg.body for msg in self._receiver.listen(timeout_s=0.1, poll_interval_s=0.5))
            if self._all_sent.is_set():
                deadline = min(deadline, time.monotonic() + _TIMEOUT_S)

    def run(self, seed: int, seconds: float) -> None:
        """Fork until the time is over, and compare the sent and the received messages."""
        rng = random.Random(seed)
        writers = [threading.Thread(target=self.write) for _ in range(2)]
        listener = threading.Thread(target=self.listen)
        for thread in (*writers, listener):
            thread.start()
        number = 0
        try:
            for method in _METHODS:
                self._send_from_a_pool(method)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                number += 1
                self._fork(f"child-{number}", rng.choice(_ENDS))
                time.sleep(rng.random() * 0.01)
        finally:
            self._stop.set()
            for thread in writers:
                thread.join()
            self._all_sent.set()
            listener.join()
        sent, received = Counter(self._sent), Counter(self._received)
        if sent - received:
            self.report.report("lost", f"while processes forked: {sorted(sent - received)[:5]}")
        if received - sent:
            self.report.report("duplicated", f"while processes forked: {sorted(received - sent)[:5]}")

    def _fork(self, name: str, end: str) -> None:
        pid = os.fork()
        if not pid:
            signal.alarm(_TIMEOUT_S)  # SIGALRM kills a child that hangs, which fails the check of its exit code
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
                # As the interpreter does at its end; the child has no other threads to join.
                import atexit

                atexit._run_exitfuncs()
            os._exit(code)

    def _send_from_a_pool(self, method: str) -> None:
        bodies = [f"{method} {number}" for number in range(4)]
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            count = len(bodies)
            list(pool.map(send_as_own, [self._db] * count, [self._address] * count, bodies, timeout=_TIMEOUT_S))
        process = context.Process(target=send_as_own, args=(self._db, self._address, f"{method} alone"))
        process.start()
        process.join(_TIMEOUT_S)
        if process.exitcode != 0:
            self.report.report("broken", f"a process started by {method} ended with {process.exitcode}")
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
