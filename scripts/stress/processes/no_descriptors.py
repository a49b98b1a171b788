"""Use the bus while descriptors run out, again and again: `... starved DB ADDRESS SEED SECONDS`.

The limit falls at random moments, in another thread than those that send, receive and ask, so that it strikes in the
middle of each; then it is lifted, and all must go on. What was sent by a call that returned comes exactly once.
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

_QUIET_S = 20.0
_T = TypeVar("_T")


class Starved:
    """One process, its clients and its threads, whose descriptors run out."""

    def __init__(self, db: str, address: str) -> None:
        self._db = db
        self._address = address
        self.report = Report()
        self._over = threading.Event()
        self._all_sent = threading.Event()
        self._sent: list[int] = []
        self._got: list[int] = []
        addresses = {"sender": f"sender-of-{address}", "receiver": address, "asker": f"asker-of-{address}"}
        self._clients = {name: BusClient.at(own, db, register=False) for name, own in addresses.items()}

    def send(self) -> None:
        """Send with one client, and now and then with a new one."""
        bus = self._clients["sender"]
        while not self._over.wait(0.001):
            self._try(lambda: self._sent.append(bus.send(self._address, "note").id))
            if len(self._sent) % 20 == 0:
                self._try(lambda: BusClient.at(f"another-of-{self._address}", self._db).close())

    def listen(self) -> None:
        """Take what comes, in short loops."""
        bus = self._clients["receiver"]
        give_up_at = float("inf")
        while not (self._all_sent.is_set() and len(self._got) >= len(self._sent)) and time.monotonic() < give_up_at:
            self._try(lambda: self._got.extend(msg.id for msg in bus.listen(timeout_s=0.05, poll_interval_s=0.05)))
            if self._all_sent.is_set():
                give_up_at = min(give_up_at, time.monotonic() + _QUIET_S)

    def ask(self) -> None:
        """Ask what nobody answers."""
        bus = self._clients["asker"]
        while not self._over.is_set():
            self._try(lambda: bus.request(f"nobody-of-{self._address}", "question", timeout_s=0.02))

    def run(self, seed: int, seconds: float) -> None:
        """Let descriptors run out and be there again, until the time is over."""
        others = [threading.Thread(target=part) for part in (self.send, self.ask)]
        listener = threading.Thread(target=self.listen)
        self._warm_up()
        for thread in (*others, listener):
            thread.start()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        chance = random.Random(seed)
        give_up_at = time.monotonic() + seconds
        while time.monotonic() < give_up_at:
            # The limit is of numbers: with none above those that are open, any further open fails.
            resource.setrlimit(resource.RLIMIT_NOFILE, (chance.choice((4, 8, 12, 16)), hard))
            time.sleep(chance.random() * 0.1)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            self.report.count("times without descriptors")
            time.sleep(chance.random() * 0.1)
        self._over.set()
        for thread in others:
            thread.join()
        self._all_sent.set()
        listener.join()
        for client in self._clients.values():
            client.close()
        if lost := set(self._sent) - set(self._got):
            self.report.report("lost", f"without descriptors: {sorted(lost)[:5]}")
        if duplicated := [id for id, count in Counter(self._got).items() if count > 1]:
            self.report.report("duplicated", f"without descriptors: {duplicated[:5]}")
        self.report.count("messages sent without descriptors", len(self._sent))

    def _warm_up(self) -> None:
        """Import all that these threads need: to import takes descriptors, and fails as Python says it."""
        with BusClient.at(f"warm-{self._address}", self._db, register=False) as bus:
            bus.send(bus.address, "note")
            list(bus.listen(timeout_s=0.01))
            self._try(lambda: bus.request(f"nobody-of-{self._address}", "question", timeout_s=0.02))
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
                self.report.report("broken", f"without descriptors a bare {type(error).__name__}: {error}")
        return None


def main() -> None:
    logging.getLogger("raven").setLevel(logging.ERROR)
    db, address, seed, seconds = sys.argv[1:]
    starved = Starved(db, address)
    starved.run(int(seed), float(seconds))
    descriptors = len(os.listdir("/dev/fd"))
    starved.report.expect(descriptors < 40, f"{descriptors} descriptors are still open after they had run out")
    starved.report.print()


if __name__ == "__main__":
    main()
