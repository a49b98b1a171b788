"""Send and receive beside external actions: `python -m scripts.stress.external.traffic_process DB FOLDER NAME PART...`.

Each part is a thread with a journal `NAME.PART` in the folder, and counts as a process in the history. Senders number
their messages; a token is `NAME.PART:NUMBER`. At a line `stop sending` all senders stop and the process prints
`stopped`; at the next line, or at the end of its input, it ends.
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
from scripts.stress.history.call_recorder import CallRecorder
from scripts.stress.history.journal import Journal

ADDRESSES = {"auto": "auto:f", "manual": "manual:f", "socket": "socket:f"}
TEXT = "x" * 1500
# The most unacked messages that a subscriber over the socket gets.
WINDOW = 5
_PAUSE_S = 0.004
# Loops end and start again after this time, so that the watcher changes, too.
_LOOP_S = 0.7
_TIMEOUT_S = 60.0
_LEASE_S = 5.0
_SHORT_TIMEOUT_S = 0.2
# After this time the leases of a killed server expire.
SERVER_LEASE_S = 3.0
_PREFETCH = 50
_ATTEMPTS = 1000
_INSERT = "INSERT INTO outbox (sender, recipient, type, body, max_attempts) VALUES (?, ?, ?, ?, ?)"
_stop_sending = threading.Event()
_stop = threading.Event()

Part = Callable[[str, CallRecorder], None]


class Sender(Protocol):
    """An object with the `send` of BusClient."""

    def send(self, to: str, type: str, body: Any, *, max_attempts: int) -> Any: ...


def _send_all(recorder: CallRecorder, sender: Sender) -> None:
    """Send to each address in turn; a refused message is not sent again."""
    addresses = list(ADDRESSES.values())
    for number in range(sys.maxsize):
        if _stop_sending.wait(_PAUSE_S):
            return
        body = {"token": f"{recorder.process}:{number}", "text": TEXT}
        to = addresses[number % len(addresses)]
        recorder.send(sender, {"to": to, "type": "note", "body": body, "max_attempts": _ATTEMPTS})


def long_timeout(db: str, recorder: CallRecorder) -> None:
    """Send with a busy timeout longer than any lock of the trial."""
    _send_by_file(db, recorder, _TIMEOUT_S)


def short_timeout(db: str, recorder: CallRecorder) -> None:
    """Send with a busy timeout shorter than the long locks of the trial."""
    _send_by_file(db, recorder, _SHORT_TIMEOUT_S)


def _send_by_file(db: str, recorder: CallRecorder, timeout_s: float) -> None:
    address = f"{recorder.process.replace('.', '-')}:senders"
    with BusClient.at(address, db, busy_timeout_s=timeout_s, create=False) as bus:
        _send_all(recorder, bus)


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
    """The part of a sent message that the recorder reads."""

    id: int


def outbox(db: str, recorder: CallRecorder) -> None:
    """Send with another SQLite."""
    with closing(sqlite3.connect(db, timeout=_TIMEOUT_S, isolation_level=None)) as connection:
        _send_all(recorder, _Outbox(connection))


def socket_sender(db: str, recorder: CallRecorder) -> None:
    """Send over the socket."""
    with Client(f"{db}.sock", "speaker:senders") as bus:
        _send_all(recorder, bus)


def reader(db: str, recorder: CallRecorder) -> None:
    """Read with another SQLite, and check that every message has a delivery."""
    with closing(sqlite3.connect(db, timeout=_TIMEOUT_S, isolation_level=None)) as connection:
        while not _stop.wait(0.1):
            count, highest, orphans = connection.execute(
                "SELECT count(*), max(id), count(*) FILTER (WHERE recipient IS NULL) FROM log"
            ).fetchone()
            recorder.journal.write("looked", count=count, highest=highest)
            if orphans:
                recorder.journal.write("failed", error=f"{orphans} messages without a delivery")


def auto(db: str, recorder: CallRecorder) -> None:
    """Receive with automatic acks."""
    with BusClient.at(ADDRESSES["auto"], db, busy_timeout_s=_TIMEOUT_S, create=False) as bus:

        def loop() -> None:
            recorder.consuming(bus.address, "auto", prefetch=_PREFETCH, at_risk=1)
            for _ in recorder.each(bus.listen(timeout_s=_LOOP_S)):
                if _stop.is_set():
                    return

        _receive(recorder, loop)


def manual(db: str, recorder: CallRecorder) -> None:
    """Receive with manual acks."""
    with BusClient.at(ADDRESSES["manual"], db, busy_timeout_s=_TIMEOUT_S, create=False) as bus:

        def loop() -> None:
            recorder.consuming(bus.address, "manual", prefetch=_PREFETCH, lease_s=_LEASE_S)
            for message in recorder.each(bus.listen(ack="manual", lease_s=_LEASE_S, timeout_s=_LOOP_S)):
                if not recorder.ack(bus, message) or _stop.is_set():
                    return

        _receive(recorder, loop)


def socket_receiver(db: str, recorder: CallRecorder) -> None:
    """Receive over the socket, with manual acks, in one loop.

    With several loops, later messages could overtake the pushed messages that an ended loop releases a moment later.
    """
    with Client(f"{db}.sock", ADDRESSES["socket"], connect_timeout_s=_TIMEOUT_S) as bus:

        def close() -> None:
            _stop.wait()
            bus.close()

        def loop() -> None:
            options = {"transport": "socket", "prefetch": WINDOW, "lease_s": SERVER_LEASE_S}
            recorder.consuming(ADDRESSES["socket"], "manual", **options)
            for message in recorder.each(bus.listen(ack="manual", max_per_poll=WINDOW)):
                # A message whose ack was refused stays leased, and in the window, until this loop ends.
                if not recorder.ack(bus, message):
                    return

        threading.Thread(target=close, daemon=True).start()

        _receive(recorder, loop)


def _receive(recorder: CallRecorder, loop: Callable[[], None]) -> None:
    """Run the loop again and again until the process stops; a RavenError only ends one run."""
    while not _stop.is_set():
        try:
            loop()
        except RavenError as error:
            recorder.journal.write("stopped", error=f"{type(error).__name__}: {error}")
            _stop.wait(0.05)
        recorder.journal.write("leaving")


SENDERS: dict[str, Part] = {
    "long_timeout": long_timeout,
    "short_timeout": short_timeout,
    "outbox": outbox,
    "socket_sender": socket_sender,
}
RECEIVERS: dict[str, Part] = {"auto": auto, "manual": manual, "socket_receiver": socket_receiver}
PARTS: dict[str, Part] = {**SENDERS, **RECEIVERS, "reader": reader}


def main() -> None:
    """Run the parts until the process is told to stop; any error but a RavenError makes its exit code 1."""
    db, folder, name, *parts = sys.argv[1:]
    logging.getLogger("raven").setLevel(logging.ERROR)
    failures: list[str] = []

    def run(part: str, recorder: CallRecorder) -> None:
        try:
            PARTS[part](db, recorder)
        except BaseException as error:
            recorder.journal.write("failed", error=f"{type(error).__name__}: {error}")
            failures.append(part)
            raise

    recorders = {part: CallRecorder(Journal(Path(folder), f"{name}.{part}"), expected=None) for part in parts}
    threads = {part: threading.Thread(target=run, args=(part, recorders[part]), daemon=True) for part in parts}
    for thread in threads.values():
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    _stop_sending.set()
    _join([threads[part] for part in parts if part in SENDERS])
    print("stopped", flush=True)
    sys.stdin.readline()
    _stop.set()
    _join(threads.values())
    sys.exit(1 if failures else 0)


def _join(threads: Iterable[threading.Thread]) -> None:
    deadline = time.monotonic() + 1.5 * _TIMEOUT_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


if __name__ == "__main__":
    main()
