"""Upgrade copies of an old bus, and be killed with -9 at every step of it: `... DB FIRST STRIDE RACES SEED`.

A step is a call by which SQLite changes a file or takes or gives up a lock on it; of what it writes, each second time
only half gets there. One process is killed at the step FIRST, another STRIDE steps later, and so on, until one comes to
its end. Then RACES times several open a copy at once, and most of them are killed at some step. Each copy is opened
once more and looked at. A line for each tells what was not as it must be (`flaws`); the last line says `end`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import apsw

from raven import BusClient
from scripts.stress.upgrade import old_bus

_TOGETHER = 4
_LATEST_STEP = 60


class _Fuse:
    """Burns down with each step, and at its end kills the process."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def burn(self, at_the_end: Callable[[], object] = bool) -> None:
        """Count one step; the last one first does what `at_the_end` says."""
        self._left -= 1
        if not self._left:
            at_the_end()
            os.kill(os.getpid(), signal.SIGKILL)


class _File(apsw.VFSFile):
    def __init__(self, fuse: _Fuse, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._fuse = fuse
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 as it is called
        real = super().xWrite
        self._fuse.burn()
        self._fuse.burn(lambda: real(data[: len(data) // 2], offset))
        real(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 as it is called
        self._fuse.burn()
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 as it is called
        self._fuse.burn()
        super().xSync(flags)

    def xLock(self, level: int) -> None:  # noqa: N802 as it is called
        super().xLock(level)
        self._fuse.burn()

    def xUnlock(self, level: int) -> None:  # noqa: N802 as it is called
        self._fuse.burn()
        super().xUnlock(level)


class _Vfs(apsw.VFS):
    def __init__(self, fuse: _Fuse) -> None:
        self._fuse = fuse
        super().__init__("raven-fuse", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802 as it is called
        return _File(self._fuse, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 as it is called
        self._fuse.burn()
        super().xDelete(filename, syncdir)


def main() -> None:
    """Tell of each copy what became of it."""
    original, (step, stride, races, seed) = sys.argv[1], map(int, sys.argv[2:])
    chance = random.Random(seed)
    while _told(original, f"{original}-step-{step}", [step]):
        step += stride
    for number in range(races):
        _told(original, f"{original}-race-{number}", [chance.randint(1, _LATEST_STEP) for _ in range(_TOGETHER)])
    print("end", flush=True)


def _told(original: str, copy: str, fuses: list[int]) -> int:
    """Let as many open a copy at once as there are fuses, and tell; returns how many were killed."""
    # This process has nothing open, so that it may copy: it never opens a bus itself.
    for end in ("", "-wal"):
        if os.path.exists(original + end):
            shutil.copyfile(original + end, copy + end)
    gate, opened = os.pipe()
    children = [_fork(lambda fuse=fuse: _upgrade(copy, gate, opened, fuse)) for fuse in fuses]  # type: ignore[misc]
    os.close(gate)
    os.close(opened)
    ends = [os.waitpid(child, 0)[1] for child in children]
    killed = sum(os.WIFSIGNALED(end) for end in ends)
    failed = sum(not os.WIFSIGNALED(end) and os.waitstatus_to_exitcode(end) != 0 for end in ends)
    result = Path(f"{copy}-flaws")
    is_upgraded = killed + failed < len(fuses)
    end = os.waitpid(_fork(lambda: result.write_text(json.dumps(_look(copy, is_upgraded)), encoding="utf-8")), 0)[1]
    flaws = json.loads(result.read_text(encoding="utf-8")) if end == 0 else ["it cannot be opened any more"]
    if failed:
        flaws.append(f"{failed} that were not killed could not open it")
    told = {"copy": os.path.basename(copy), "fuses": fuses, "killed": killed, "flaws": flaws}
    print(json.dumps(told), flush=True)
    return killed


def _upgrade(path: str, gate: int, opened: int, fuse: int) -> None:
    os.close(opened)
    os.read(gate, 1)
    vfs = _Vfs(_Fuse(fuse))
    with BusClient.at(f"opener-{fuse}:late", path, busy_timeout_s=20) as bus:
        bus.send("reader:late", "note", "after the upgrade")
    del vfs


def _look(path: str, is_upgraded: bool) -> list[str]:
    """Return what is not as it must be; where one was not killed, what it has sent is there."""
    flaws = old_bus.flaws(path)
    with BusClient.at("reader:late", path, register=False) as bus:
        if is_upgraded and not bus.inbox(peek=True):
            flaws.append("what was sent after the upgrade is gone")
    return flaws


def _fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
