"""Take rights away from a bus in each way, and use it by each way: `disk_rights FOLDER SEED`.

Root gives up the right to pass over permissions first. The last line is `{"skipped": why}` or
`{"done": {...}, "found": [[kind, words], ...]}`.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from raven import BusClient, RavenError
from raven_rpc import Client
from scripts.harness.served import Served
from scripts.stress.report import Report

# prctl(2) and capabilities(7): CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
_PR_CAPBSET_DROP, _CAPABILITIES = 24, (1, 2)
_DEADLINE_S = 20.0
# Less than this body needs, which is about as long as an argument of a command can be; the file itself is shorter.
_LIMIT, _BIG = 100_000, "x" * 120_000
_PLACE = str(Path(__file__).parents[3])
_SEND = ("send", "--from", "boss:s", "--to", "far:s", "--type", "note", "--body")


class Trouble(NamedTuple):
    """A right that is missing: of which file or folder, the mode that it gets, and the error that comes of it.

    `peek` is the error of one who only looks, if any; one that `lasts` meets also those who have the bus open already.
    """

    name: str
    place: str
    mode: int
    error: str = "ReadOnlyError"
    peek: str | None = "ReadOnlyError"
    lasts: bool = False


TROUBLES = (
    Trouble("a read-only file", "bus.db", 0o444, peek=None),
    Trouble("a file of no permission", "bus.db", 0),
    Trouble("a file that can be written only", "bus.db", 0o200),
    Trouble("a read-only folder", ".", 0o555),
    Trouble("a folder that cannot be entered", ".", 0o444, lasts=True),
    Trouble("a folder of no permission", ".", 0, lasts=True),
    Trouble("a WAL of no permission", "bus.db-wal", 0),
    Trouble("an index of no permission", "bus.db-shm", 0),
)


class Rights(Report):
    """Buses in folders of their own, each in trouble of its own."""

    def __init__(self, folder: str, seed: int) -> None:
        super().__init__()
        self._folder = folder
        self._random = random.Random(seed)

    def try_closed(self, trouble: Trouble) -> None:
        """Open a bus that is in trouble, by each way, and again when it is well."""
        place = self._make(trouble, "closed")
        for end in ("-wal", "-shm"):
            if trouble.place.endswith(end):
                Path(f"{place}/bus.db{end}").touch(mode=0o600)
        self._begin(place, trouble)
        db = f"{place}/bus.db"
        self._raises(trouble, "opening it", trouble.error, lambda: BusClient.at("boss:s", db).close())
        self._command(trouble, db, 3, *_SEND, "1")
        self._command(trouble, db, 3 if trouble.peek else 0, "inbox", "-a", "far:s", "--peek")
        if trouble.peek:  # what can be looked at is served
            self._command(trouble, db, 3, "serve", "--socket", f"{self._folder}/closed.sock")
        self._end(place, trouble)
        with BusClient.at("boss:s", db) as bus:
            bus.send("far:s", "note", "after")
        self._command(trouble, db, 0, *_SEND, "1")

    def try_open(self, trouble: Trouble) -> None:
        """Let trouble come while a bus is in use, by a client and by the helper; they go on after it."""
        place = self._make(trouble, "open")
        db, socket = f"{place}/bus.db", f"{self._folder}/open.sock"
        with BusClient.at("boss:s", db) as bus, Served(db, socket) as served, Client(socket, "boss:s") as client:
            senders = {"library": bus, "socket": client}
            for sender in senders.values():
                sender.send("far:s", "note", "before")
            self._begin(place, trouble)
            sent = 2
            for way, sender in senders.items():
                try:
                    sender.send("far:s", "note", "meanwhile")
                    sent += 1
                    self.count("sends over open files without permission")
                except RavenError as error:
                    self.count("sends refused without permission")
                    name = type(error).__name__
                    self.expect(
                        trouble.lasts and name in ("FileMissingError", "ReadOnlyError"),
                        f"{trouble.name}, while in use by the {way}: {name}: {error}",
                    )
            self._end(place, trouble)
            for way, sender in senders.items():
                try:
                    sender.send("far:s", "note", "after")
                    sent += 1
                except RavenError as error:
                    self.expect(False, f"{trouble.name}: the {way} could not go on: {type(error).__name__}: {error}")
            self.expect(not served.has_ended, f"{trouble.name}: the helper has ended")
            with BusClient.at("far:s", db) as far:
                there = len(far.inbox())
            if there != sent:
                self.report("lost" if there < sent else "duplicated", f"{trouble.name}: {there} of {sent} are there")
            served.stop()

    def try_limit(self) -> None:
        """Reach the limit on the size of a file, by the library, the command and the helper."""
        place = f"{self._folder}/limit"
        os.mkdir(place)
        db, socket = f"{place}/bus.db", f"{self._folder}/limit.sock"
        trouble = Trouble("a file size limit", "bus.db", 0, error="DiskFullError")
        with BusClient.at("boss:s", db) as bus:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT, hard))
            try:
                self._raises(trouble, "a send", trouble.error, lambda: bus.send("far:s", "note", _BIG))
                self._command(trouble, db, 3, *_SEND, f'"{_BIG}"')
                with Served(db, socket) as served, Client(socket, "boss:s") as client:
                    self._raises(
                        trouble, "a send by the socket", trouble.error, lambda: client.send("far:s", "n", _BIG)
                    )
                    client.send("far:s", "note", "small")
                    self.expect(not served.has_ended, "a file size limit: the helper has ended")
                    served.stop()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            bus.send("far:s", "note", _BIG)
            self.expect(bus.last_id() == 2, f"a file size limit: there are {bus.last_id()} messages, not 2")

    def _make(self, trouble: Trouble, how: str) -> str:
        place = f"{self._folder}/{TROUBLES.index(trouble)}-{how}"
        os.mkdir(place, 0o700)
        BusClient.at("far:s", f"{place}/bus.db").close()
        return place

    def _begin(self, place: str, trouble: Trouble) -> None:
        os.chmod(f"{place}/{trouble.place}", trouble.mode)
        self.count("missing permissions")

    def _end(self, place: str, trouble: Trouble) -> None:
        os.chmod(place, 0o700)
        # Those beside the file, too: who has only looked at a read-only file has made them as read-only as that.
        for path in Path(place).glob("bus.db*"):
            if path.is_file():
                path.chmod(0o600)

    def _raises(self, trouble: Trouble, what: str, wanted: str, step: Callable[[], object]) -> None:
        name, text = "nothing", ""
        try:
            step()
        except Exception as error:
            name, text = type(error).__name__, str(error)
        self.expect(name == wanted, f"{trouble.name}: {what} raised {name}, not {wanted}: {text}")

    def _command(self, trouble: Trouble, db: str, code: int, *arguments: str) -> None:
        self.count("commands")
        try:
            result = subprocess.run(
                [sys.executable, "-m", "raven", *arguments],
                check=False,
                capture_output=True,
                text=True,
                timeout=_DEADLINE_S,
                cwd=_PLACE,
                env={**os.environ, "RAVEN_DB": db},
            )
        except subprocess.TimeoutExpired:
            self.expect(False, f"{trouble.name}: raven {arguments[0]} has not ended")
            return
        lines = result.stderr.splitlines()
        is_said = len(lines) == 1 and lines[0].startswith("error: ") if code else not lines
        self.expect(
            result.returncode == code and is_said,
            f"{trouble.name}: raven {arguments[0]} came to {result.returncode}, not {code}: {result.stderr[-300:]!r}",
        )


def _be_bound() -> None:
    """Begin anew without root's right to pass over permissions, which is lost only at an exec."""
    if os.geteuid() != 0 or sys.platform != "linux" or "--bound" in sys.argv:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in _CAPABILITIES:
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.execv(sys.executable, [sys.executable, "-m", "scripts.stress.disk.permissions", *sys.argv[1:], "--bound"])


def main() -> None:
    _be_bound()
    folder = sys.argv[1]
    probe = Path(folder, "probe")
    probe.touch(mode=0)
    if os.access(probe, os.R_OK):
        print(json.dumps({"skipped": "permissions do not bind this user, and that right cannot be given up"}))
        return
    rights = Rights(folder, int(sys.argv[2]))
    for trouble in TROUBLES:
        rights.try_closed(trouble)
        rights.try_open(trouble)
    rights.try_limit()
    rights.print()


if __name__ == "__main__":
    main()
