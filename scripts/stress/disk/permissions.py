"""Remove permissions of a bus in each way, and use the bus by each way: `permissions FOLDER SEED`.

Root first drops the capabilities that bypass permissions. The last line is `{"skipped": why}` or the JSON of a Report.
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
# The limit is below the body's size, which is near the longest command line argument, and above the file's size.
_LIMIT, _BIG = 125_000, "x" * 130_000
_ROOT = str(Path(__file__).parents[3])
_SEND = ("send", "--from", "boss:s", "--to", "far:s", "--type", "note", "--body")


class MissingPermission(NamedTuple):
    """A missing permission: the file or folder, its mode, and the expected error.

    `peek` is the error of a reader, or None. `lasts` is True if it also affects processes that have the bus open.
    """

    name: str
    path: str
    mode: int
    error: str = "ReadOnlyError"
    peek: str | None = "ReadOnlyError"
    lasts: bool = False


MISSING_PERMISSIONS = (
    MissingPermission("a read-only file", "bus.db", 0o444, peek=None),
    MissingPermission("a file of no permission", "bus.db", 0),
    MissingPermission("a file that can be written only", "bus.db", 0o200),
    MissingPermission("a read-only folder", ".", 0o555),
    MissingPermission("a folder that cannot be entered", ".", 0o444, lasts=True),
    MissingPermission("a folder of no permission", ".", 0, lasts=True),
    MissingPermission("a WAL of no permission", "bus.db-wal", 0),
    MissingPermission("an index of no permission", "bus.db-shm", 0),
)


class Permissions(Report):
    """Buses in folders of their own, each with another missing permission."""

    def __init__(self, folder: str, seed: int) -> None:
        super().__init__()
        self._folder = folder
        self._random = random.Random(seed)

    def try_closed(self, missing: MissingPermission) -> None:
        """Open a bus with a missing permission, by each way, and again after it is restored."""
        path = self._make(missing, "closed")
        for end in ("-wal", "-shm"):
            if missing.path.endswith(end):
                Path(f"{path}/bus.db{end}").touch(mode=0o600)
        self._begin(path, missing)
        db = f"{path}/bus.db"
        self._raises(missing, "opening it", missing.error, lambda: BusClient.at("boss:s", db).close())
        self._command(missing, db, 3, *_SEND, "1")
        self._command(missing, db, 3 if missing.peek else 0, "inbox", "-a", "far:s", "--peek")
        if missing.peek:  # a bus that can be read is served read-only
            self._command(missing, db, 3, "serve", "--socket", f"{self._folder}/closed.sock")
        self._end(path, missing)
        with BusClient.at("boss:s", db) as bus:
            bus.send("far:s", "note", "after")
        self._command(missing, db, 0, *_SEND, "1")

    def try_open(self, missing: MissingPermission) -> None:
        """Remove a permission while a client and the server use the bus; both must go on after it is restored."""
        path = self._make(missing, "open")
        db, socket = f"{path}/bus.db", f"{self._folder}/open.sock"
        with BusClient.at("boss:s", db) as bus, Served(db, socket) as served, Client(socket, "boss:s") as client:
            senders = {"library": bus, "socket": client}
            for sender in senders.values():
                sender.send("far:s", "note", "before")
            self._begin(path, missing)
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
                        missing.lasts and name in ("FileMissingError", "ReadOnlyError"),
                        f"{missing.name}, while in use by the {way}: {name}: {error}",
                    )
            self._end(path, missing)
            for way, sender in senders.items():
                try:
                    sender.send("far:s", "note", "after")
                    sent += 1
                except RavenError as error:
                    self.expect(False, f"{missing.name}: the {way} could not go on: {type(error).__name__}: {error}")
            self.expect(not served.has_ended, f"{missing.name}: the server has ended")
            with BusClient.at("far:s", db) as far:
                stored = len(far.inbox())
            if stored != sent:
                self.report(
                    "lost" if stored < sent else "duplicated", f"{missing.name}: {stored} of {sent} messages are stored"
                )
            served.stop()

    def try_limit(self) -> None:
        """Reach the limit on the file size, by the library, the command and the server."""
        path = f"{self._folder}/limit"
        os.mkdir(path)
        db, socket = f"{path}/bus.db", f"{self._folder}/limit.sock"
        missing = MissingPermission("a file size limit", "bus.db", 0, error="DiskFullError")
        BusClient.at("boss:s", db).close()  # the WAL of a new bus alone is near the limit
        with BusClient.at("boss:s", db) as bus:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT, hard))
            try:
                self._raises(missing, "a send", missing.error, lambda: bus.send("far:s", "note", _BIG))
                self._command(missing, db, 3, *_SEND, f'"{_BIG}"')
                with Served(db, socket) as served, Client(socket, "boss:s") as client:
                    self._raises(
                        missing, "a send by the socket", missing.error, lambda: client.send("far:s", "n", _BIG)
                    )
                    client.send("far:s", "note", "small")
                    self.expect(not served.has_ended, "a file size limit: the server has ended")
                    served.stop()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            bus.send("far:s", "note", _BIG)
            self.expect(bus.last_id() == 2, f"a file size limit: there are {bus.last_id()} messages, not 2")

    def _make(self, missing: MissingPermission, how: str) -> str:
        path = f"{self._folder}/{MISSING_PERMISSIONS.index(missing)}-{how}"
        os.mkdir(path, 0o700)
        BusClient.at("far:s", f"{path}/bus.db").close()
        return path

    def _begin(self, path: str, missing: MissingPermission) -> None:
        os.chmod(f"{path}/{missing.path}", missing.mode)
        self.count("missing permissions")

    def _end(self, path: str, missing: MissingPermission) -> None:
        os.chmod(path, 0o700)
        # The companion files, too: a reader of a read-only file creates them with the same mode.
        for file in Path(path).glob("bus.db*"):
            if file.is_file():
                file.chmod(0o600)

    def _raises(self, missing: MissingPermission, call: str, expected: str, step: Callable[[], object]) -> None:
        name, text = "nothing", ""
        try:
            step()
        except Exception as error:
            name, text = type(error).__name__, str(error)
        self.expect(name == expected, f"{missing.name}: {call} raised {name}, not {expected}: {text}")

    def _command(self, missing: MissingPermission, db: str, code: int, *arguments: str) -> None:
        self.count("commands")
        try:
            result = subprocess.run(
                [sys.executable, "-m", "raven", *arguments],
                check=False,
                capture_output=True,
                text=True,
                timeout=_DEADLINE_S,
                cwd=_ROOT,
                env={**os.environ, "RAVEN_DB": db},
            )
        except subprocess.TimeoutExpired:
            self.expect(False, f"{missing.name}: raven {arguments[0]} has not ended")
            return
        lines = result.stderr.splitlines()
        is_reported = len(lines) == 1 and lines[0].startswith("error: ") if code else not lines
        text = f"{missing.name}: raven {arguments[0]} ended with {result.returncode}, not {code}"
        self.expect(result.returncode == code and is_reported, f"{text}: {result.stderr[-300:]!r}")


def _drop_capabilities() -> None:
    """Start again without root's capabilities to bypass permissions, which a process loses only at an exec."""
    if os.geteuid() != 0 or sys.platform != "linux" or "--dropped" in sys.argv:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in _CAPABILITIES:
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.execv(sys.executable, [sys.executable, "-m", "scripts.stress.disk.permissions", *sys.argv[1:], "--dropped"])


def main() -> None:
    _drop_capabilities()
    folder = sys.argv[1]
    probe = Path(folder, "probe")
    probe.touch(mode=0)
    if os.access(probe, os.R_OK):
        print(json.dumps({"skipped": "permissions do not bind this user, and it cannot drop that capability"}))
        return
    permissions = Permissions(folder, int(sys.argv[2]))
    for missing in MISSING_PERMISSIONS:
        permissions.try_closed(missing)
        permissions.try_open(missing)
    permissions.try_limit()
    permissions.print()


if __name__ == "__main__":
    main()
