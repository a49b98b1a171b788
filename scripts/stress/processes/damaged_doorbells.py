"""Damaged doorbells: other files in the place of a doorbell or its folders, while a process waits there."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from raven import BusClient
from raven.wake.doorbell import Doorbells
from scripts.harness.program import Program
from scripts.stress.trial import Round

_ADDRESS = "probe:bells"
_POLL_S = 0.3
_TIMEOUT_S = 20.0
_ATTEMPTS = 1000
_READS = 30
# Far longer than a send takes on a busy machine; a send that waited for a doorbell would never return.
_SLOW_S = 5.0


class DamagedDoorbells:
    """A process that waits at a doorbell, and the ways to damage it; a folder of the user must stay unchanged."""

    def __init__(self, round: Round, db: str) -> None:
        self._round = round
        self._db = db
        self._folder = Path(f"{db}-bells")
        self._address_folder = self._folder / _ADDRESS
        self._user_folder = round.folder / "user_folder"
        (self._user_folder / "empty").mkdir(parents=True)
        (self._user_folder / "text").write_text("untouched", encoding="utf-8")
        os.mkfifo(self._user_folder / "1-pipe")
        self._bus = BusClient.at("sender:bells", db, busy_timeout_s=30)
        self._doorbells = Doorbells(db)
        self._probe = Program("stress.processes.step_by_step", db, _ADDRESS, "1", greets=True)
        self._ends: list[int] = []
        self._number = 0
        self.cases: dict[str, Callable[[], None]] = {
            "doorbell: a file": lambda: self._put(
                self._doorbell(), lambda path: path.write_text("mine", encoding="utf-8")
            ),
            "doorbell: a symlink to a file": lambda: self._put(
                self._doorbell(), self._link_to(self._user_folder / "text")
            ),
            "doorbell: a symlink to the database": lambda: self._put(self._doorbell(), self._link_to(Path(db))),
            "doorbell: a symlink to nothing": lambda: self._put(
                self._doorbell(), self._link_to(self._user_folder / "nothing")
            ),
            "doorbell: a folder": lambda: self._put(self._doorbell(), lambda path: path.mkdir()),
            "doorbell: a FIFO without a reader": lambda: self._put(self._doorbell(), os.mkfifo),
            "doorbell: a full FIFO of mode 0666": lambda: self._put(self._doorbell(), self._full_fifo),
            "doorbell: deleted": lambda: self._doorbell().unlink(),
            "address folder: a file": lambda: self._put(self._address_folder, lambda path: path.touch()),
            "address folder: a symlink to the database folder": lambda: self._put(
                self._address_folder, self._link_to(Path(db).parent)
            ),
            "address folder: a symlink": lambda: self._put(self._address_folder, self._link_to(self._user_folder)),
            "folder of the doorbells: deleted": lambda: shutil.rmtree(self._folder, ignore_errors=True),
            "folder of the doorbells: a file": lambda: self._put(self._folder, lambda path: path.touch()),
            "folder of the doorbells: a link": lambda: self._put(self._folder, self._link_to(self._user_folder)),
            "folder of the doorbells: a link to nothing": lambda: self._put(
                self._folder, self._link_to(self._user_folder / "nothing")
            ),
            "folder of the doorbells: not writable": lambda: self._folder.chmod(0o500),
        }

    def __enter__(self) -> DamagedDoorbells:
        self._probe.__enter__()
        self._probe.tell(f"listen {_POLL_S}")
        self._probe.line()
        self._await_doorbell("at the start")
        return self

    def __exit__(self, *error: object) -> None:
        self._probe.end()
        self._bus.close()

    def damage(self, way: str) -> None:
        """Damage the doorbell in one way: messages must still come, and the waiter must recreate the doorbell."""
        with suppress(FileNotFoundError):  # other processes also create and delete files here
            self.cases[way]()
        self._send(way)
        self._doorbells.ring_all()
        self._doorbells.sweep()
        self._check_user_folder(way)
        self._restore()
        self._await_doorbell(way)
        self._send(f"after {way}")
        self._round.count("doorbells damaged")

    def _send(self, when: str) -> None:
        self._number += 1
        began = time.monotonic()
        self._bus.send(_ADDRESS, "note", self._number)
        took = time.monotonic() - began
        self._round.expect(took < _SLOW_S, f"{when}: a send took {took:.1f} s")
        try:
            body = self._probe.line(_TIMEOUT_S)
        except TimeoutError:
            self._round.report("lost", f"{when}: the message has not come within {_TIMEOUT_S:g} s")
            return
        self._round.expect(body == str(self._number), f"{when}: {body} came instead of {self._number}")

    def _await_doorbell(self, when: str) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while not self._doorbells.count_waiting(_ADDRESS):
            if time.monotonic() > deadline:
                self._round.report("broken", f"{when}: the doorbell was not recreated")
                return
            time.sleep(0.01)

    def _check_user_folder(self, when: str) -> None:
        names = {path.name for path in self._user_folder.iterdir()}
        self._round.expect(names == {"empty", "text", "1-pipe"}, f"{when}: a folder of the user now has {names}")
        text = (self._user_folder / "text").read_text(encoding="utf-8")
        self._round.expect(text == "untouched", f"{when}: a file of the user was written: {text!r}")
        held = holds_lock(Path(self._db))
        self._round.expect(held is not False, f"{when}: this process lost its lock on the database")

    def _restore(self) -> None:
        while self._ends:
            os.close(self._ends.pop())
        for path in (self._folder, self._address_folder):
            if path.is_symlink() or path.is_file():
                path.unlink()
        with suppress(FileNotFoundError):
            self._folder.chmod(0o700)

    def _doorbell(self) -> Path:
        return next(
            iter(path for path in self._address_folder.iterdir() if path.is_fifo()), self._address_folder / "1-none"
        )

    def _put(self, path: Path, make: Callable[[Path], object]) -> None:
        """Move another file to a path; processes that create doorbells there may recreate it at the same time."""
        replacement = self._round.folder / "replacement"
        make(replacement)
        is_folder = replacement.is_dir() and not replacement.is_symlink()
        for attempt in range(_ATTEMPTS):
            try:
                if path.is_dir() and not path.is_symlink():
                    old = self._round.folder / f"old-{self._number}-{attempt}"
                    os.rename(path, old)
                    shutil.rmtree(old, ignore_errors=True)
                elif is_folder:
                    path.unlink()
                os.rename(replacement, path)
            except (IsADirectoryError, FileExistsError, FileNotFoundError):
                path.parent.mkdir(mode=0o700, exist_ok=True)
                continue
            return
        raise RuntimeError(f"{path} was recreated each time")

    def _link_to(self, target: Path) -> Callable[[Path], None]:
        return lambda path: path.symlink_to(target)

    def _full_fifo(self, path: Path) -> None:
        os.mkfifo(path)
        path.chmod(0o600)
        self._ends = [os.open(path, flags | os.O_NONBLOCK) for flags in (os.O_RDONLY, os.O_WRONLY)]
        with suppress(BlockingIOError):
            while True:
                os.write(self._ends[1], b"!" * 4096)


def holds_lock(path: Path) -> bool | None:
    """Return whether this process has a POSIX lock on a file; None if the system does not tell.

    One read of /proc/locks can miss a lock while other locks come and go (68 of 2,000 reads did). A lost lock stays
    lost, since SQLite locks an open database only once. So only many reads in a row prove a loss.
    """
    for _ in range(_READS):
        has_lock = _shows_lock(path)
        if has_lock is not False:
            return has_lock
        time.sleep(0.01)
    return False


def _shows_lock(path: Path) -> bool | None:
    """Read /proc/locks once, see proc(5)."""
    try:
        lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    ours = (str(os.getpid()), str(path.stat().st_ino))
    rows = (line.split() for line in lines)
    return any((row[4], row[5].rpartition(":")[2]) == ours for row in rows if row[1] == "POSIX")
