"""Fill a small disk again and again while a bus on it is in use: `disk_room FOLDER SEED SECONDS`.

The last line is `{"skipped": why}` or `{"done": {...}, "found": [[kind, words], ...]}`.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from raven import BusClient, DiskFullError, RavenError
from raven_rpc import Client
from scripts.harness.program import Program
from scripts.stress.disk.small_disk import NoMountsError, SmallDisk
from scripts.stress.report import Report

_SIZE = 4 << 20
_MANY = 400
_DEADLINE_S = 30.0
_READERS = ("auto", "manual", "socket")
_PLACE = str(Path(__file__).parents[3])


class Room(Report):
    """A bus on a small disk, with all who use it."""

    def __init__(self, folder: str, seed: int, disk: SmallDisk, stack: ExitStack) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self._disk = disk
        self._stack = stack
        self._db = f"{folder}/bus.db"
        self._bus = stack.enter_context(BusClient.at("boss:s", self._db, busy_timeout_s=_DEADLINE_S))
        socket = f"{folder}/socket"
        self._helper = self._serve(socket)
        self._readers = {
            f"{how}:s": stack.enter_context(
                Program("stress.disk.reader", socket if how == "socket" else self._db, f"{how}:s", how)
            )
            for how in _READERS
        }
        for reader in self._readers.values():
            reader.line()
        self._client = stack.enter_context(Client(socket, "far:s"))
        self._sent: dict[str, set[int]] = {address: set() for address in self._readers}
        self._received: dict[str, list[int]] = {address: [] for address in self._readers}

    def go_round(self) -> None:
        """Fill the disk, send until there is no room, make some, and see that all go on and nothing is lost."""
        self._send_all("before")
        self._receive()
        self._disk.fill()
        self._send_until_full()
        self._use_the_command()
        if self.random.random() < 0.5:
            self._disk.leave(self.random.choice([4096, 40_000, 200_000]))
            self._send_until_full()
        self._disk.make_room()
        self.count("full disks")
        self._send_all("after")
        self._receive()
        self.expect(self._helper.poll() is None, "the helper has ended")
        self._bus.prune(0)

    def begin_without_files(self) -> None:
        """Let a subscriber begin where no doorbell can be made, and send to it."""
        self._disk.use_up_files()
        with Program("stress.disk.reader", self._db, "late:s", "auto") as reader:
            reader.line()
            sent = self._bus.send("late:s", "note").id
            got = json.loads(reader.line(_DEADLINE_S))
            self.expect(got == {"id": sent}, f"without a doorbell, message #{sent} came as {got}")
            self.count("sends without doorbells")
        other = os.path.join(os.path.dirname(self._db), "other.db")
        try:
            BusClient.at("a:b", other).close()
        except DiskFullError:
            self.count("buses refused without free inodes")
        except RavenError as error:
            self.expect(False, f"a new bus without files raised {type(error).__name__}: {error}")
        self._disk.make_room()
        BusClient.at("a:b", other).close()
        # With a file of which SQLite cannot make the WAL it is the same.
        self._disk.use_up_files()
        try:
            BusClient.at("a:b", other).close()
            self.expect(False, "a bus was opened where no WAL could be made")
        except DiskFullError:
            self.count("buses refused without free inodes")
        except RavenError as error:
            self.expect(False, f"a bus without files for its WAL raised {type(error).__name__}: {error}")
        self._disk.make_room()
        BusClient.at("a:b", other).close()

    def use_what_is_read_only(self, folder: str) -> None:
        """Mount it read-only once all have closed, and use it by each way."""
        self._disk.set_read_only(True)
        socket = f"{folder}/socket"
        for arguments in (
            ("send", "--from", "boss:s", "--to", "far:s", "--type", "note"),
            ("inbox", "-a", "far:s"),
            ("inbox", "-a", "far:s", "--peek"),
            ("serve", "--socket", socket),
        ):
            self._expect_an_error(arguments, "cannot be written")
        try:
            BusClient.at("boss:s", self._db).close()
            self.expect(False, "a bus on a read-only disk was opened")
        except RavenError as error:
            self.expect(type(error).__name__ == "ReadOnlyError", f"a read-only disk: {type(error).__name__}: {error}")
        self._disk.set_read_only(False)
        with BusClient.at("boss:s", self._db) as bus:
            bus.send("far:s", "note")
        self.count("read-only mounts")

    def check_sound(self) -> None:
        """Look at the file as a stranger, once all have closed."""
        connection = sqlite3.connect(self._db)
        answer = connection.execute("PRAGMA integrity_check").fetchone()[0]
        self.expect(answer == "ok", f"integrity_check says {answer}")
        connection.close()

    def _send_all(self, when: str) -> None:
        for address in self._readers:
            for sender in (self._bus, self._client):
                try:
                    self._sent[address].add(sender.send(address, "note", when).id)
                except RavenError as error:
                    self.expect(False, f"a send {when} the disk was full raised {type(error).__name__}: {error}")

    def _send_until_full(self) -> None:
        """Send by the library and by the helper, of many sizes, until each has been refused."""
        refused: set[str] = set()
        for _ in range(_MANY):
            way, sender = self.random.choice([("library", self._bus), ("server", self._client)])
            address = self.random.choice(list(self._readers))
            body = "x" * self.random.choice([1, 1000, 20_000])
            last = self._bus.last_id()
            try:
                self._sent[address].add(sender.send(address, "note", body).id)
                self.count("sends")
            except DiskFullError as error:
                self.expect(error.retryable, "a full disk is not retryable")
                self.count(f"sends refused by the {way}")
                refused.add(way)
                self.expect(self._bus.last_id() == last, f"a send that the {way} refused is there")
            except RavenError as error:
                self.expect(False, f"a full disk, by the {way}: {type(error).__name__}: {error}")
            if len(refused) == 2:
                return
        self.expect(False, f"{_MANY} sends to a full disk were refused only by {sorted(refused)}")

    def _use_the_command(self) -> None:
        body = json.dumps("x" * 100_000)
        send = ("send", "--from", "boss:s", "--to", "far:s", "--type", "note", "--body", body)
        self._expect_an_error(send, "cannot grow")

    def _expect_an_error(self, arguments: tuple[str, ...], words: str) -> None:
        result = subprocess.run(
            [sys.executable, "-m", "raven", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            cwd=_PLACE,
            env={**os.environ, "RAVEN_DB": self._db},
        )
        lines = result.stderr.splitlines()
        self.expect(
            result.returncode == 3 and len(lines) == 1 and lines[0].startswith("error: ") and words in lines[0],
            f"raven {arguments[0]} came to {result.returncode}: {result.stderr[:300]!r}",
        )
        self.count("commands refused")

    def _receive(self) -> None:
        """Wait until the readers have had all that was sent to them, and no more."""
        for address, reader in self._readers.items():
            received, sent = self._received[address], self._sent[address]
            while not sent.issubset(received):
                try:
                    line = json.loads(reader.line(_DEADLINE_S))
                except TimeoutError:
                    self.report("lost", f"{sorted(sent.difference(received))[:5]} have not come to {address}")
                    return
                if "id" in line:
                    received.append(line["id"])
                else:
                    self.count("loops ended by an error")
                    self.expect(line["error"] == "DiskFullError", f"the loop of {address} ended with {line['error']}")
            twice = [message_id for message_id, count in Counter(received).items() if count > 1]
            if twice:
                self.report("duplicated", f"{twice[:5]} came twice to {address}")
            strange = set(received) - sent
            self.expect(not strange, f"{sorted(strange)[:5]} came to {address}, and no send had returned")
            self.count("messages received", len(received))
            received.clear()
            sent.clear()

    def _serve(self, path: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "raven", "serve", "--db", self._db, "--socket", path],
            stdout=subprocess.PIPE,
            cwd=_PLACE,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        assert process.stdout is not None
        process.stdout.readline()
        return process


def main() -> None:
    folder, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    until = time.monotonic() + seconds
    try:
        disk = SmallDisk(folder, size=_SIZE)
    except NoMountsError as error:
        print(json.dumps({"skipped": str(error)}), flush=True)
        return
    with ExitStack() as stack:
        room = Room(folder, seed, disk, stack)
        room.begin_without_files()
        room.go_round()
        while time.monotonic() < until:
            room.go_round()
    room.check_sound()
    room.use_what_is_read_only(folder)
    room.print()


if __name__ == "__main__":
    main()
