"""Owner: the user of the bus, who sends, receives, opens new clients and reads settings while the stranger attacks."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import Counter
from typing import Any

from raven import BusClient, ConfigError, DatabaseError, FileMissingError, RavenError, ReadOnlyError, config
from raven.files.ownership import user_name

SECRET = "the password is hunter2"
ADDRESS = "worker:s"
_OPEN_TIMEOUT_S = 30
_DRAIN_TIMEOUT_S = 30


class Owner:
    """Works at the bus `db` until the deadline of the monotonic clock; `work` returns counts, and what went wrong."""

    def __init__(self, db: str, stranger_uid: int, seed: int, deadline: float) -> None:
        self._db = db
        self._random = random.Random(seed)
        self._deadline = deadline
        # Each reason for a refusal names the stranger, or the wrong type of a planted file.
        self._reasons = (user_name(stranger_uid), "is a symlink, not", "is a folder, not", "is a FIFO, not")
        self._reasons += ("is a socket, not", "is a file, not", "names (hard links)")
        self._counts: Counter[str] = Counter()
        self._wrong: list[str] = []
        self._received: list[str] = []
        self._sent: list[str] = []

    def work(self) -> dict[str, Any]:
        """Send until the deadline, wait for all messages, and return the results."""
        logging.getLogger("raven").addHandler(logging.NullHandler())
        logging.getLogger("raven").propagate = False
        with self._open("boss:s") as boss, self._open(ADDRESS) as worker:
            receiver = threading.Thread(target=self._receive, args=(worker,), daemon=True)
            receiver.start()
            while time.monotonic() < self._deadline:
                self._send(boss)
                self._open_again()
                self._read_settings()
                time.sleep(self._random.random() * 0.01)
            give_up_at = time.monotonic() + _DRAIN_TIMEOUT_S
            while len(self._received) < len(self._sent) and time.monotonic() < give_up_at:
                time.sleep(0.02)
            (integrity,) = boss.execute("SELECT count(*) FROM messages WHERE sender NOT IN ('boss:s', 'visitor:s')")
        if integrity != (0,):
            self._wrong.append(f"{integrity[0]} messages in the bus are of no sender of its owner")
        return {
            "counts": self._counts,
            "wrong": self._wrong[:20],
            "lost": sorted(set(self._sent) - set(self._received))[:20],
            "twice": [body for body, times in Counter(self._received).items() if times > 1][:20],
            "planted": sorted(set(self._received) - set(self._sent))[:20],
        }

    def _open(self, address: str) -> BusClient:
        """Open a client, as soon as no planted file is in the way."""
        give_up_at = time.monotonic() + _OPEN_TIMEOUT_S
        while True:
            try:
                return BusClient.at(address, self._db)
            except RavenError as error:
                self._expect_refusal(error)
                if time.monotonic() > give_up_at:
                    raise
            time.sleep(0.001)

    def _send(self, bus: BusClient) -> None:
        body = f"{SECRET} {len(self._sent)}"
        try:
            waiting = bus.send(ADDRESS, "secret", body).waiting or {}
        except RavenError as error:
            self._wrong.append(f"a send of an open client failed: {error}")
            return
        self._sent.append(body)
        self._counts["messages"] += 1
        self._counts["sends to a subscriber with a doorbell"] += bool(waiting.get(ADDRESS))

    def _open_again(self) -> None:
        """Open the bus as a new command does, and send."""
        if self._random.random() > 0.3:
            return
        body = f"{SECRET} {len(self._sent)}"
        try:
            with BusClient.at("visitor:s", self._db) as bus:
                bus.send(ADDRESS, "secret", body)
        except RavenError as error:
            self._expect_refusal(error)
            self._counts["clients refused because of a planted file"] += 1
            return
        self._sent.append(body)
        self._counts["clients opened"] += 1

    def _read_settings(self) -> None:
        """Look for settings in a folder of one's own below the open one."""
        try:
            db = config.load(folder=os.path.join(os.path.dirname(self._db), "work")).db
        except ConfigError as error:
            self._expect_refusal(error)
            self._counts["settings refused"] += 1
            return
        if "evil" in db:
            self._wrong.append(f"the settings of the stranger were used: {db}")

    def _receive(self, bus: BusClient) -> None:
        while True:
            for message in bus.listen(timeout_s=60):
                self._received.append(str(message.body))

    def _expect_refusal(self, error: RavenError) -> None:
        if any(reason in str(error) for reason in self._reasons):
            return
        # SQLite met a planted file, which was gone again when raven asked whose it is.
        if type(error) in (DatabaseError, FileMissingError, ReadOnlyError):
            self._counts["clients refused because of a file that was gone again"] += 1
        else:
            self._wrong.append(f"an error that names no planted file: {type(error).__name__}: {error}")
