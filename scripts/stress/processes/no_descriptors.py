"""Use the bus while descriptors run out, again and again: `... no_descriptors DB ADDRESS SEED SECONDS`.

The main thread lowers the limit at random moments, while other threads send, receive and request, so that it takes
effect in the middle of a call. Then it raises the limit, and all must go on. The message of every send that returned
must come exactly once.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from raven import BusClient, DatabaseError, RavenError, WaitTimeoutError
from scripts.stress.report import Report

_DRAIN_S = 20.0
_T = TypeVar("_T")


class DescriptorShortage:
    """A process whose descriptors run out, with its clients and threads."""

    def __init__(self, db: str, address: str) -> None:
        self._db = db
        self._address = address
        self.report = Report()
        self._stop = threading.Event()
        self._all_sent = threading.Event()
        self._sent: list[int] = []
        self._received: list[int] = []
        addresses = {"sender": f"sender-of-{address}", "receiver": address, "asker": f"asker-of-{address}"}
        self._clients = {name: BusClient.at(own, db, register=False) for name, own in addresses.items()}

    def send(self) -> None:
        """Send with one client, and now and then open another."""
        bus = self._clients["sender"]
        while not self._stop.wait(0.001):
            self._try(lambda: self._sent.append(bus.send(self._address, "note").id))
            if len(self._sent) % 20 == 0:
                self._try(lambda: BusClient.at(f"another-of-{self._address}", self._db).close())

    def listen(self) -> None:
        """Receive all messages, in short loops."""
        bus = self._clients["receiver"]
        deadline = float("inf")
        while not (self._all_sent.is_set() and len(self._received) >= len(self._sent)) and time.monotonic() < deadline:
            self._try(lambda: self._received.extend(msg.id for msg in bus.listen(timeout_s=0.05, poll_interval_s=0.05)))
            if self._all_sent.is_set():
                deadline = min(deadline, time.monotonic() + _DRAIN_S)

    def ask(self) -> None:
        """Make requests that get no reply."""
        bus = self._clients["asker"]
        while not self._stop.is_set():
            self._try(lambda: bus.request(f"unread-{self._address}", "question", timeout_s=0.02))

    def run(self, seed: int, seconds: float) -> None:
        """Lower and raise the limit until the time is over, and compare the sent and the received messages."""
        others = [threading.Thread(target=part) for part in (self.send, self.ask)]
        listener = threading.Thread(target=self.listen)
        self._warm_up()
        for thread in (*others, listener):
            thread.start()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        rng = random.Random(seed)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            # The limit applies to descriptor numbers: if it is below the open ones, every further open fails.
            resource.setrlimit(resource.RLIMIT_NOFILE, (rng.choice((4, 8, 12, 16)), hard))
            time.sleep(rng.random() * 0.1)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            self.report.count("times without descriptors")
            time.sleep(rng.random() * 0.1)
        self._stop.set()
        for thread in others:
            thread.join()
        self._all_sent.set()
        listener.join()
        for client in self._clients.values():
            client.close()
        if lost := set(self._sent) - set(self._received):
            self.report.report("lost", f"without descriptors: {sorted(lost)[:5]}")
        if duplicated := [id for id, count in Counter(self._received).items() if count > 1]:
            self.report.report("duplicated", f"without descriptors: {duplicated[:5]}")
        self.report.count("messages sent without descriptors", len(self._sent))

    def _warm_up(self) -> None:
        """Import all modules that the threads need: an import takes descriptors, and fails with Python's own errors."""
        with BusClient.at(f"warm-{self._address}", self._db, register=False) as bus:
            bus.send(bus.address, "note")
            list(bus.listen(timeout_s=0.01))
            self._try(lambda: bus.request(f"unread-{self._address}", "question", timeout_s=0.02))
            self._try(lambda: BusClient.at("a:b", f"{self._db}-is-not-there/bus.db"))

    def _try(self, step: Callable[[], _T]) -> _T | None:
        try:
            return step()
        except WaitTimeoutError:
            return None
        except DatabaseError:
            self.report.count("typed errors without descriptors")
        except RavenError as error:
            self.report.report("broken", f"without descriptors: {type(error).__name__}: {error}")
        except OSError as error:
            named = str(error.filename or "")
            if error.errno != errno.EMFILE or not named.endswith((".py", ".pyc")):
                self.report.report("broken", f"without descriptors a bare {type(error).__name__} was raised: {error}")
        return None


def main() -> None:
    logging.getLogger("raven").setLevel(logging.ERROR)
    db, address, seed, seconds = sys.argv[1:]
    shortage = DescriptorShortage(db, address)
    shortage.run(int(seed), float(seconds))
    descriptors = len(os.listdir("/dev/fd"))
    shortage.report.expect(descriptors < 40, f"{descriptors} descriptors are open after the shortage")
    shortage.report.print()


if __name__ == "__main__":
    main()
