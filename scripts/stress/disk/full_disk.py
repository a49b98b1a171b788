"""Fill a small disk again and again while a bus on it is in use: `full_disk FOLDER SEED SECONDS`.

The last line is `{"skipped": why}` or the JSON of a Report.
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
_ROOT = str(Path(__file__).parents[3])


class FullDisk(Report):
    """A bus on a small disk, with its readers, its server and its senders."""

    def __init__(self, folder: str, seed: int, disk: SmallDisk, stack: ExitStack) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self._disk = disk
        self._stack = stack
        self._db = f"{folder}/bus.db"
        self._bus = stack.enter_context(BusClient.at("boss:s", self._db, busy_timeout_s=_DEADLINE_S))
        socket = f"{folder}/socket"
        self._server = self._serve(socket)
        self._readers = {
            f"{mode}:s": stack.enter_context(
                Program("stress.disk.reader", socket if mode == "socket" else self._db, f"{mode}:s", mode)
            )
            for mode in _READERS
        }
        for reader in self._readers.values():
            reader.line()
        self._client = stack.enter_context(Client(socket, "far:s"))
        self._sent: dict[str, set[int]] = {address: set() for address in self._readers}
        self._received: dict[str, list[int]] = {address: [] for address in self._readers}

    def fill_and_recover(self) -> None:
        """Fill the disk, send until it is full, free space, and check that all go on and no message is lost."""
        self._send_all("before")
        self._receive()
        self._disk.fill()
        self._send_until_full()
        self._send_by_command()
        if self.random.random() < 0.5:
            self._disk.leave(self.random.choice([4096, 40_000, 200_000]))
            self._send_until_full()
        self._disk.make_room()
        self.count("full disks")
        self._send_all("after")
        self._receive()
        self.expect(self._server.poll() is None, "the server has ended")
        self._bus.prune(0, grace_s=0)

    def start_without_inodes(self) -> None:
        """Start a subscriber while no doorbell can be created, and send to it."""
        self._disk.use_up_files()
        with Program("stress.disk.reader", self._db, "late:s", "auto") as reader:
            reader.line()
            sent = self._bus.send("late:s", "note").id
            line = json.loads(reader.line(_DEADLINE_S))
            self.expect(line == {"id": sent}, f"without a doorbell, message #{sent} was received as {line}")
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
        # The same for a file whose WAL SQLite cannot create.
        self._disk.use_up_files()
        try:
            BusClient.at("a:b", other).close()
            self.expect(False, "a bus was opened though its WAL could not be created")
        except DiskFullError:
            self.count("buses refused without free inodes")
        except RavenError as error:
            self.expect(False, f"a bus without files for its WAL raised {type(error).__name__}: {error}")
        self._disk.make_room()
        BusClient.at("a:b", other).close()

    def use_read_only_disk(self, folder: str) -> None:
        """Mount the disk read-only after all have closed the bus, and use it by each way."""
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
        """Check the file with Python's own SQLite, after all have closed it."""
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
        """Send messages of many sizes by the library and the server, until each was refused."""
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
                self.expect(error.retryable, "DiskFullError should be retryable")
                self.count(f"sends refused by the {way}")
                refused.add(way)
                self.expect(self._bus.last_id() == last, f"a send that the {way} refused is stored")
            except RavenError as error:
                self.expect(False, f"a full disk, by the {way}: {type(error).__name__}: {error}")
            if len(refused) == 2:
                return
        self.expect(False, f"{_MANY} sends to a full disk were refused only by {sorted(refused)}")

    def _send_by_command(self) -> None:
        # More than the WAL can hold in the place that it has already.
        send = ("send", "--from", "boss:s", "--to", "far:s", "--type", "note", "--body-file", "-")
        self._expect_an_error(send, "cannot grow", json.dumps("x" * 1_000_000))

    def _expect_an_error(self, arguments: tuple[str, ...], text: str, stdin: str = "") -> None:
        result = subprocess.run(
            [sys.executable, "-m", "raven", *arguments],
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            cwd=_ROOT,
            env={**os.environ, "RAVEN_DB": self._db},
        )
        lines = result.stderr.splitlines()
        self.expect(
            result.returncode == 3 and len(lines) == 1 and lines[0].startswith("error: ") and text in lines[0],
            f"raven {arguments[0]} ended with {result.returncode}: {result.stderr[:300]!r}",
        )
        self.count("commands refused")

    def _receive(self) -> None:
        """Wait until the readers have received all messages that were sent to them, and no others."""
        for address, reader in self._readers.items():
            received, sent = self._received[address], self._sent[address]
            while not sent.issubset(received):
                try:
                    line = json.loads(reader.line(_DEADLINE_S))
                except TimeoutError:
                    self.report("lost", f"{sorted(sent.difference(received))[:5]} were not received at {address}")
                    return
                if "id" in line:
                    received.append(line["id"])
                else:
                    self.count("loops ended by an error")
                    self.expect(line["error"] == "DiskFullError", f"the loop of {address} ended with {line['error']}")
            twice = [message_id for message_id, count in Counter(received).items() if count > 1]
            if twice:
                self.report("duplicated", f"{twice[:5]} were received twice at {address}")
            unknown = set(received) - sent
            self.expect(
                not unknown, f"{sorted(unknown)[:5]} were received at {address}, and their sends had not returned"
            )
            self.count("messages received", len(received))
            received.clear()
            sent.clear()

    def _serve(self, path: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "raven", "serve", "--db", self._db, "--socket", path],
            stdout=subprocess.PIPE,
            cwd=_ROOT,
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
        full_disk = FullDisk(folder, seed, disk, stack)
        full_disk.start_without_inodes()
        full_disk.fill_and_recover()
        while time.monotonic() < until:
            full_disk.fill_and_recover()
    full_disk.check_sound()
    full_disk.use_read_only_disk(folder)
    full_disk.print()


if __name__ == "__main__":
    main()
