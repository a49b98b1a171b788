"""Send and receive beside foreign hands: `python -m scripts.trials.foreign.correspondent DB FOLDER NAME PART...`.

Each part is a thread with a journal `NAME.PART` in the folder, to which it writes `sending`, `sent`, `refused` and
`received`. Senders number their messages; a token is `NAME.PART:NUMBER`. At a line `hush` all senders stop and the
process says `hushed`; at the next line, or at the end of its input, it ends.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from raven import BusClient, LostError, RavenError
from raven_rpc import Client
from scripts.trials.history.journal import Journal

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
_hushed = threading.Event()
_over = threading.Event()

Part = Callable[[str, Journal], None]


def _send_all(journal: Journal, send: Callable[[str, str], int]) -> None:
    """Send one message after the other to each address in turn; what is refused is not sent again."""
    addresses = list(ADDRESSES.values())
    for number in range(sys.maxsize):
        if _hushed.wait(_PAUSE_S):
            return
        token, to = f"{journal.life}:{number}", addresses[number % len(addresses)]
        journal.write("sending", token=token, to=to)
        try:
            journal.write("sent", token=token, id=send(to, token))
        except LostError as error:
            journal.write("unknown", token=token, error=str(error))
        except (RavenError, sqlite3.OperationalError) as error:
            journal.write("refused", token=token, error=f"{type(error).__name__}: {error}")


def patient(db: str, journal: Journal) -> None:
    """Send with a client that waits longer than any lock is held."""
    _by_raven(db, journal, _PATIENCE_S)


def impatient(db: str, journal: Journal) -> None:
    """Send with a client that gives up where a lock is held for long."""
    _by_raven(db, journal, _LITTLE_PATIENCE_S)


def _by_raven(db: str, journal: Journal, patience_s: float) -> None:
    with BusClient.at(f"{journal.life.replace('.', '-')}:senders", db, busy_timeout_s=patience_s, create=False) as bus:
        _send_all(journal, lambda to, token: bus.send(to, "note", [token, TEXT]).id)


def outbox(db: str, journal: Journal) -> None:
    """Send with another SQLite, by INSERT INTO outbox, over one connection."""
    with closing(sqlite3.connect(db, timeout=_PATIENCE_S, isolation_level=None)) as connection:

        def send(to: str, token: str) -> int:
            connection.execute(
                "INSERT INTO outbox (sender, recipient, type, body) VALUES ('outbox:senders', ?, 'note', ?)",
                (to, json.dumps([token, TEXT])),
            )
            return 0

        _send_all(journal, send)


def speaker(db: str, journal: Journal) -> None:
    """Send over the helper's socket."""
    with Client(f"{db}.sock", "speaker:senders") as bus:
        _send_all(journal, lambda to, token: bus.send(to, "note", [token, TEXT]).id)


def reader(db: str, journal: Journal) -> None:
    """Read with another SQLite, and see that no message has lost its delivery."""
    with closing(sqlite3.connect(db, timeout=_PATIENCE_S, isolation_level=None)) as connection:
        while not _over.wait(0.1):
            count, highest, orphans = connection.execute(
                "SELECT count(*), max(id), count(*) FILTER (WHERE recipient IS NULL) FROM log"
            ).fetchone()
            journal.write("looked", count=count, highest=highest, orphans=orphans)


def auto(db: str, journal: Journal) -> None:
    """Take mail that is acked as it is taken."""
    with BusClient.at(ADDRESSES["auto"], db, busy_timeout_s=_PATIENCE_S, create=False) as bus:
        _receive(journal, lambda: ((msg.id, msg.body[0]) for msg in bus.listen(timeout_s=_TURN_S)))


def manual(db: str, journal: Journal) -> None:
    """Take mail and ack it."""
    with BusClient.at(ADDRESSES["manual"], db, busy_timeout_s=_PATIENCE_S, create=False) as bus:

        def messages() -> Iterator[tuple[int, str]]:
            for msg in bus.listen(ack="manual", lease_s=_LEASE_S, timeout_s=_TURN_S):
                yield msg.id, msg.body[0]
                bus.ack(msg.id)

        _receive(journal, messages)


def listener(db: str, journal: Journal) -> None:
    """Take mail over the helper's socket, and ack it.

    In one loop: what was pushed to one that ended is given back a moment later, when others may have gone ahead.
    """
    with Client(f"{db}.sock", ADDRESSES["socket"], patience_s=_PATIENCE_S) as bus:

        def close() -> None:
            _over.wait()
            bus.close()

        def messages() -> Iterator[tuple[int, str]]:
            for msg in bus.listen(ack="manual", max_per_poll=WINDOW):
                yield msg.id, msg.body[0]
                bus.ack(msg.id)

        threading.Thread(target=close, daemon=True).start()

        _receive(journal, messages)


def _receive(journal: Journal, messages: Callable[[], Iterator[tuple[int, str]]]) -> None:
    """Write down what comes until it is over; where the loop ends by an error of raven, begin it anew."""
    while not _over.is_set():
        try:
            for id, token in messages():
                journal.write("received", id=id, token=token)
                if _over.is_set():
                    break
        except RavenError as error:
            journal.write("ended", error=f"{type(error).__name__}: {error}")
            _over.wait(0.05)


SENDERS: dict[str, Part] = {"patient": patient, "impatient": impatient, "outbox": outbox, "speaker": speaker}
RECEIVERS: dict[str, Part] = {"auto": auto, "manual": manual, "listener": listener}
PARTS: dict[str, Part] = {**SENDERS, **RECEIVERS, "reader": reader}


def main() -> None:
    """Play the parts until it is over; an error that is none of raven's ends the process at once, and badly."""
    db, folder, name, *parts = sys.argv[1:]
    logging.getLogger("raven").setLevel(logging.ERROR)
    failures: list[str] = []

    def play(part: str, journal: Journal) -> None:
        try:
            PARTS[part](db, journal)
        except BaseException as error:
            journal.write("failed", error=f"{type(error).__name__}: {error}")
            failures.append(part)
            raise

    threads = {
        part: threading.Thread(target=play, args=(part, Journal(Path(folder), f"{name}.{part}")), daemon=True)
        for part in parts
    }
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
