"""Spoiled bells: what can stand in the place of a doorbell or of its folders, beside somebody who waits there."""

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
_PATIENCE_S = 20.0
_ATTEMPTS = 1000
_LOOKS = 30
# Far more than a send takes on a busy machine; one that waits for a bell waits for ever.
_SLOW_S = 5.0


class SpoiledBells:
    """Somebody who waits, and what is done to his doorbell; a treasure of the user's must stay as it was."""

    def __init__(self, round: Round, db: str) -> None:
        self._round = round
        self._db = db
        self._bells = Path(f"{db}-bells")
        self._home = self._bells / _ADDRESS
        self._treasure = round.folder / "treasure"
        (self._treasure / "empty").mkdir(parents=True)
        (self._treasure / "text").write_text("untouched", encoding="utf-8")
        os.mkfifo(self._treasure / "1-pipe")
        self._bus = BusClient.at("spoiler:bells", db, busy_timeout_s=30)
        self._doorbells = Doorbells(db)
        self._probe = Program("stress.processes.step_by_step", db, _ADDRESS, "1", greets=True)
        self._ends: list[int] = []
        self._number = 0
        self.ways: dict[str, Callable[[], None]] = {
            "bell: a file": lambda: self._put(self._bell(), lambda at: at.write_text("mine", encoding="utf-8")),
            "bell: a link to a file": lambda: self._put(self._bell(), self._link_to(self._treasure / "text")),
            "bell: a link to the database": lambda: self._put(self._bell(), self._link_to(Path(db))),
            "bell: a link to nothing": lambda: self._put(self._bell(), self._link_to(self._treasure / "nothing")),
            "bell: a folder": lambda: self._put(self._bell(), lambda at: at.mkdir()),
            "bell: a FIFO that nobody reads": lambda: self._put(self._bell(), os.mkfifo),
            "bell: a full FIFO of mode 0666": lambda: self._put(self._bell(), self._full_fifo),
            "bell: gone": lambda: self._bell().unlink(),
            "folder of the address: a file": lambda: self._put(self._home, lambda at: at.touch()),
            "folder of the address: a link to the database's": lambda: self._put(
                self._home, self._link_to(Path(db).parent)
            ),
            "folder of the address: a link": lambda: self._put(self._home, self._link_to(self._treasure)),
            "folder of the bells: gone": lambda: shutil.rmtree(self._bells, ignore_errors=True),
            "folder of the bells: a file": lambda: self._put(self._bells, lambda at: at.touch()),
            "folder of the bells: a link": lambda: self._put(self._bells, self._link_to(self._treasure)),
            "folder of the bells: a link to nothing": lambda: self._put(
                self._bells, self._link_to(self._treasure / "nothing")
            ),
            "folder of the bells: not writable": lambda: self._bells.chmod(0o500),
        }

    def __enter__(self) -> SpoiledBells:
        self._probe.__enter__()
        self._probe.tell(f"listen {_POLL_S}")
        self._probe.line()
        self._await_bell("at the begin")
        return self

    def __exit__(self, *error: object) -> None:
        self._probe.end()
        self._bus.close()

    def spoil(self, way: str) -> None:
        """Spoil the bell in one way; mail must come all the same, and the bell hang again once that is possible."""
        with suppress(FileNotFoundError):  # others come and go in these folders
            self.ways[way]()
        self._send(way)
        self._doorbells.ring_all()
        self._doorbells.sweep()
        self._look_after_treasure(way)
        self._restore()
        self._await_bell(way)
        self._send(f"after {way}")
        self._round.count("doorbells damaged")

    def _send(self, when: str) -> None:
        self._number += 1
        began = time.monotonic()
        self._bus.send(_ADDRESS, "note", self._number)
        took = time.monotonic() - began
        self._round.expect(took < _SLOW_S, f"{when}: a send took {took:.1f} s")
        try:
            heard = self._probe.line(_PATIENCE_S)
        except TimeoutError:
            self._round.report("lost", f"{when}: what was sent has not come within {_PATIENCE_S:g} s")
            return
        self._round.expect(heard == str(self._number), f"{when}: {heard} came and not {self._number}")

    def _await_bell(self, when: str) -> None:
        give_up_at = time.monotonic() + _PATIENCE_S
        while not self._doorbells.count_waiting(_ADDRESS):
            if time.monotonic() > give_up_at:
                self._round.report("broken", f"{when}: no bell hangs again")
                return
            time.sleep(0.01)

    def _look_after_treasure(self, when: str) -> None:
        names = {path.name for path in self._treasure.iterdir()}
        self._round.expect(names == {"empty", "text", "1-pipe"}, f"{when}: a folder of the user's now holds {names}")
        text = (self._treasure / "text").read_text(encoding="utf-8")
        self._round.expect(text == "untouched", f"{when}: a file of the user's was written: {text!r}")
        held = holds_lock(Path(self._db))
        self._round.expect(held is not False, f"{when}: this process has lost its locks on the database")

    def _restore(self) -> None:
        while self._ends:
            os.close(self._ends.pop())
        for place in (self._bells, self._home):
            if place.is_symlink() or place.is_file():
                place.unlink()
        with suppress(FileNotFoundError):
            self._bells.chmod(0o700)

    def _bell(self) -> Path:
        return next(iter(path for path in self._home.iterdir() if path.is_fifo()), self._home / "1-none")

    def _put(self, place: Path, make: Callable[[Path], object]) -> None:
        """Let something else stand at a place; those who hang bells there make it anew at the same time."""
        stand_in = self._round.folder / "stand-in"
        make(stand_in)
        is_folder = stand_in.is_dir() and not stand_in.is_symlink()
        for attempt in range(_ATTEMPTS):
            try:
                if place.is_dir() and not place.is_symlink():
                    old = self._round.folder / f"old-{self._number}-{attempt}"
                    os.rename(place, old)
                    shutil.rmtree(old, ignore_errors=True)
                elif is_folder:
                    place.unlink()
                os.rename(stand_in, place)
            except (IsADirectoryError, FileExistsError, FileNotFoundError):
                place.parent.mkdir(mode=0o700, exist_ok=True)
                continue
            return
        raise RuntimeError(f"{place} is made anew all the time")

    def _link_to(self, target: Path) -> Callable[[Path], None]:
        return lambda at: at.symlink_to(target)

    def _full_fifo(self, at: Path) -> None:
        os.mkfifo(at)
        at.chmod(0o666)
        self._ends = [os.open(at, flags | os.O_NONBLOCK) for flags in (os.O_RDONLY, os.O_WRONLY)]
        with suppress(BlockingIOError):
            while True:
                os.write(self._ends[1], b"!" * 4096)


def holds_lock(path: Path) -> bool | None:
    """Return whether this process has a POSIX lock on a file; None if that cannot be known.

    A look can pass over a lock while others come and go (68 of 2,000 looks did). One that is lost stays lost, since
    SQLite takes that of an open database only once: so only many looks in a row tell that it is.
    """
    for _ in range(_LOOKS):
        shown = _shows_lock(path)
        if shown is not False:
            return shown
        time.sleep(0.01)
    return False


def _shows_lock(path: Path) -> bool | None:
    """Look once, see proc(5)."""
    try:
        lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    ours = (str(os.getpid()), str(path.stat().st_ino))
    rows = (line.split() for line in lines)
    return any((row[4], row[5].rpartition(":")[2]) == ours for row in rows if row[1] == "POSIX")
