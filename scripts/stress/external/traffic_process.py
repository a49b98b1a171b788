"""Send and receive beside foreign hands: `python -m scripts.stress.external.traffic_process DB FOLDER NAME PART...`.

Each part is a thread and a life of its own, with a journal `NAME.PART` in the folder. Senders number their messages; a
token is `NAME.PART:NUMBER`. At a line `hush` all senders stop and the
process says `hushed`; at the next line, or at the end of its input, it ends.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from raven import BusClient, BusyError, RavenError
from raven_rpc import Client
from scripts.stress.history.call_recorder import Witness
from scripts.stress.history.journal import Journal

ADDRESSES = {"auto": "auto:f", "manual": "manual:f", "socket": "socket:f"}
TEXT = "x" * 1500
# How many messages are on their way to a listener at the socket, at most.
WINDOW = 5
_PAUSE_S = 0.004
# A loop ends now and then, and begins anew: so the watch passes from one to the other, too.
_TURN_S = 0.7
_PATIENCE_S = 60.0
_LEASE_S = 5.0
_LITTLE_PATIENCE_S = 0.2
# So soon a helper that was killed lets others have what it had pushed.
HELPERS_LEASE_S = 3.0
_AHEAD = 50
_ATTEMPTS = 1000
_INSERT = "INSERT INTO outbox (sender, recipient, type, body, max_attempts) VALUES (?, ?, ?, ?, ?)"
_hushed = threading.Event()
_over = threading.Event()

Part = Callable[[str, Witness], None]


class Sender(Protocol):
    """What sends a message as BusClient does."""

    def send(self, to: str, type: str, body: Any, *, max_attempts: int) -> Any: ...


def _send_all(witness: Witness, sender: Sender) -> None:
    """Send one message after the other to each address in turn; what is refused is not sent again."""
    addresses = list(ADDRESSES.values())
    for number in range(sys.maxsize):
        if _hushed.wait(_PAUSE_S):
            return
        body = {"token": f"{witness.life}:{number}", "text": TEXT}
        to = addresses[number % len(addresses)]
        witness.send(sender, {"to": to, "type": "note", "body": body, "max_attempts": _ATTEMPTS})


def patient(db: str, witness: Witness) -> None:
    """Send with a client that waits longer than any lock is held."""
    _by_raven(db, witness, _PATIENCE_S)


def impatient(db: str, witness: Witness) -> None:
    """Send with a client that gives up where a lock is held for long."""
    _by_raven(db, witness, _LITTLE_PATIENCE_S)


def _by_raven(db: str, witness: Witness, patience_s: float) -> None:
    with BusClient.at(f"{witness.life.replace('.', '-')}:senders", db, busy_timeout_s=patience_s, create=False) as bus:
        _send_all(witness, bus)


class _Outbox:
    """Sends with another SQLite, by INSERT INTO outbox, over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def send(self, to: str, type: str, body: Any, *, max_attempts: int) -> NamedTuple:
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                row = ("outbox:senders", to, type, json.dumps(body), max_attempts)
                self._connection.execute(_INSERT, row)
                return _Sent(self._connection.execute("SELECT max(id) FROM messages").fetchone()[0])
        except sqlite3.OperationalError as error:
            raise BusyError(f"another SQLite: {error}") from error


class _Sent(NamedTuple):
    """What a send returns, as far as it is looked at."""

    id: int


def outbox(db: str, witness: Witness) -> None:
    """Send with another SQLite."""
    with closing(sqlite3.connect(db, timeout=_PATIENCE_S, isolation_level=None)) as connection:
        _send_all(witness, _Outbox(connection))


def speaker(db: str, witness: Witness) -> None:
    """Send over the helper's socket."""
    with Client(f"{db}.sock", "speaker:senders") as bus:
        _send_all(witness, bus)


def reader(db: str, witness: Witness) -> None:
    """Read with another SQLite, and see that no message has lost its delivery."""
    with closing(sqlite3.connect(db, timeout=_PATIENCE_S, isolation_level=None)) as connection:
        while not _over.wait(0.1):
            count, highest, orphans = connection.execute(
                "SELECT count(*), max(id), count(*) FILTER (WHERE recipient IS NULL) FROM log"
            ).fetchone()
            witness.journal.write("looked", count=count, highest=highest)
            if orphans:
                witness.journal.write("failed", error=f"{orphans} messages without a delivery")


def auto(db: str, witness: Witness) -> None:
    """Take mail that is acked as it is taken."""
    with BusClient.at(ADDRESSES["auto"], db, busy_timeout_s=_PATIENCE_S, create=False) as bus:

        def take() -> None:
            witness.consuming(bus.address, "auto", ahead=_AHEAD, at_risk=1)
            for _ in witness.each(bus.listen(timeout_s=_TURN_S)):
                if _over.is_set():
                    return

        _receive(witness, take)


def manual(db: str, witness: Witness) -> None:
    """Take mail and ack it."""
    with BusClient.at(ADDRESSES["manual"], db, busy_timeout_s=_PATIENCE_S, create=False) as bus:

        def take() -> None:
            witness.consuming(bus.address, "manual", ahead=_AHEAD, lease_s=_LEASE_S)
            for message in witness.each(bus.listen(ack="manual", lease_s=_LEASE_S, timeout_s=_TURN_S)):
                if not witness.ack(bus, message) or _over.is_set():
                    return

        _receive(witness, take)


def listener(db: str, witness: Witness) -> None:
    """Take mail over the helper's socket, and ack it.

    In one loop: what was pushed to one that ended is given back a moment later, when others may have gone ahead.
    """
    with Client(f"{db}.sock", ADDRESSES["socket"], patience_s=_PATIENCE_S) as bus:

        def close() -> None:
            _over.wait()
            bus.close()

        def take() -> None:
            witness.consuming(ADDRESSES["socket"], "manual", over="socket", ahead=WINDOW, lease_s=HELPERS_LEASE_S)
            for message in witness.each(bus.listen(ack="manual", max_per_poll=WINDOW)):
                # What is refused stays in hand, and in the window, until this loop is left.
                if not witness.ack(bus, message):
                    return

        threading.Thread(target=close, daemon=True).start()

        _receive(witness, take)


def _receive(witness: Witness, take: Callable[[], None]) -> None:
    """Take what comes until it is over; if the loop ends by an error of raven, begin it anew."""
    while not _over.is_set():
        try:
            take()
        except RavenError as error:
            witness.journal.write("stopped", error=f"{type(error).__name__}: {error}")
            _over.wait(0.05)
        witness.journal.write("leaving")


SENDERS: dict[str, Part] = {"patient": patient, "impatient": impatient, "outbox": outbox, "speaker": speaker}
RECEIVERS: dict[str, Part] = {"auto": auto, "manual": manual, "listener": listener}
PARTS: dict[str, Part] = {**SENDERS, **RECEIVERS, "reader": reader}


def main() -> None:
    """Play the parts until it is over; an error that is none of raven's ends the process at once, and badly."""
    db, folder, name, *parts = sys.argv[1:]
    logging.getLogger("raven").setLevel(logging.ERROR)
    failures: list[str] = []

    def play(part: str, witness: Witness) -> None:
        try:
            PARTS[part](db, witness)
        except BaseException as error:
            witness.journal.write("failed", error=f"{type(error).__name__}: {error}")
            failures.append(part)
            raise

    witnesses = {part: Witness(Journal(Path(folder), f"{name}.{part}"), expected=None) for part in parts}
    threads = {part: threading.Thread(target=play, args=(part, witnesses[part]), daemon=True) for part in parts}
    for thread in threads.values():
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    _hushed.set()
    _join([threads[part] for part in parts if part in SENDERS])
    print("hushed", flush=True)
    sys.stdin.readline()
    _over.set()
    _join(threads.values())
    sys.exit(1 if failures else 0)


def _join(threads: Iterable[threading.Thread]) -> None:
    deadline = time.monotonic() + 1.5 * _PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


if __name__ == "__main__":
    main()
