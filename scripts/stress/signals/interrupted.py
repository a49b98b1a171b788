"""Be interrupted in every public call: `... interrupted DB SEED SECONDS`.

A real timer (setitimer) raises an exception at a random moment of a call. While that exception is being handled,
another connection must be able to write, and another thread must be able to use the client. The descriptors are
counted now and then.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import apsw

from raven import BusClient, BusyError, RavenError, WaitTimeoutError
from raven.store import fork_safety
from scripts.harness.program import descriptors
from scripts.stress.report import Report

_LONGEST_S = 400e-6
_LONGEST_FORK_S = 3e-3
_LOCK_TIMEOUT_S = 5.0
_CHECK_DESCRIPTORS_EVERY = 500
_PRUNE_EVERY = 2000
# A loop of an abandoned exception may hold this many at the moment of counting: its doorbell, and its watch of the WAL
# with a connection. What leaks becomes more and more.
_FEW = 12


class Interrupt(BaseException):
    """What the signal handler raises."""


class LockProbe:
    """A thread that takes the locks of a client when asked, as any thread that uses the client does."""

    def __init__(self, bus: BusClient, timeout_s: float = _LOCK_TIMEOUT_S) -> None:
        self._store = bus._store
        self._timeout_s = timeout_s
        self._asked, self._answered = threading.Semaphore(0), threading.Semaphore(0)
        self._is_free = True
        threading.Thread(target=self._run, daemon=True).start()

    def is_free(self) -> bool:
        self._asked.release()
        self._answered.acquire()
        return self._is_free

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while self._asked.acquire():
            locks = [self._store.lock, self._store.turn, fork_safety._registry_lock]
            self._is_free = all(next(fork_safety.hold(lock, self._timeout_s)) for lock in locks)
            self._answered.release()


class Interrupted:
    """A client whose calls are interrupted."""

    def __init__(self, db: str, seed: int) -> None:
        self.report = Report()
        self._random = random.Random(seed)
        self._bus = BusClient.at("worker:s", db)
        self._other = apsw.Connection(db)
        self._other.set_busy_timeout(2000)  # the watching thread of this process writes, too
        self._probe = LockProbe(self._bus)
        self._is_armed = False
        signal.signal(signal.SIGALRM, self._raise)
        self._calls: dict[str, Callable[[], object]] = {
            "send": lambda: self._bus.send("worker:s", "note"),
            "send_many": lambda: self._bus.send_many([{"to": "worker:s", "type": "note"}] * 3),
            "inbox": lambda: self._bus.inbox(1),
            "claim": self._claim,
            "execute": lambda: self._bus.execute("INSERT INTO own VALUES (1)"),
            "transaction": self._transact,
            "request": self._request,
            "listen": lambda: list(self._bus.listen(timeout_s=0)),
            "tail": lambda: list(self._bus.tail(self._bus.last_id(), timeout_s=0.0001)),
            "register": lambda: self._bus.register("worker:s"),
            "receipts": lambda: self._bus.receipts(self._bus.last_id()),
            "peers": self._bus.peers,
            "stats": self._bus.stats,
            "history": lambda: self._bus.history(task_id="none"),
            "client": lambda: BusClient.at("worker:s", db).close(),
            "fork": _fork,
        }
        self._bus.execute("CREATE TABLE IF NOT EXISTS own (value)")

    def run(self, seconds: float) -> None:
        """Interrupt random calls until the time is over."""
        self._bus.send("worker:s", "note")
        for call in self._calls.values():  # imports and opens what the first call needs
            with suppress(WaitTimeoutError):
                call()
        held = descriptors(os.getpid())
        end, turn = time.monotonic() + seconds, 0
        while time.monotonic() < end or turn < len(self._calls):
            name = self._random.choice([*self._calls]) if turn >= len(self._calls) else [*self._calls][turn]
            turn += 1
            self._interrupt(name)
            if turn % _PRUNE_EVERY == 0:
                self._finish_all()
            if turn % _CHECK_DESCRIPTORS_EVERY == 0:
                gc.collect()
                now = descriptors(os.getpid())
                if now > held + _FEW:
                    self.report.report("broken", f"{now - held} descriptors were left open")
                    held = now

    def _interrupt(self, name: str) -> None:
        longest_s = _LONGEST_FORK_S if name == "fork" else _LONGEST_S
        try:
            self._is_armed = True
            signal.setitimer(signal.ITIMER_REAL, self._random.uniform(1e-6, longest_s))
            self._repeat(self._calls[name])
        except Interrupt:
            self._check(name)
        except RavenError as error:
            self._is_armed = False
            self.report.report("broken", f"{name} raised {type(error).__name__}: {error}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _repeat(self, call: Callable[[], object]) -> None:
        # A function of its own: Python 3.13 does not catch what is raised at the end of a loop in a `try` block.
        while self._is_armed:
            with suppress(WaitTimeoutError):
                call()

    def _check(self, name: str) -> None:
        """Check, while the exception is being handled, that neither the bus nor the client is locked."""
        self.report.count("interrupts")
        self.report.count(f"interrupts in {name}")
        try:
            self._other.execute("BEGIN IMMEDIATE; ROLLBACK")
        except apsw.BusyError:
            self.report.report("broken", f"an interrupt in {name} has left the bus locked")
        if not self._probe.is_free():
            self.report.report("broken", f"an interrupt in {name} has left a lock of the client taken")

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._is_armed:
            self._is_armed = False
            raise Interrupt

    def _claim(self) -> None:
        for message in self._bus.claim(2):
            self._bus.ack(message.id)

    def _transact(self) -> None:
        with self._bus.transaction() as tx:
            tx.send("worker:s", "note")
            with tx.transaction() as inner:
                inner.claim()
                inner.execute("INSERT INTO own VALUES (2)")

    def _request(self) -> None:
        self._bus.request("silent:s", "ask", timeout_s=0.0001)

    def _finish_all(self) -> None:
        with suppress(BusyError):
            while messages := self._bus.claim(1000):
                for message in messages:
                    self._bus.ack(message.id)
            self._bus.prune(0)


def _fork() -> None:
    try:
        if not os.fork():
            os._exit(0)
    finally:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def main() -> None:
    db, seed, seconds = sys.argv[1:]
    # An exception of a handler inside a fork is reported there by Python; it is no finding.
    sys.unraisablehook = lambda unraisable: None
    interrupted = Interrupted(db, int(seed))
    interrupted.run(float(seconds))
    interrupted.report.print()


if __name__ == "__main__":
    main()
