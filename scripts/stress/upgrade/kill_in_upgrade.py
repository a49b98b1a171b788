"""Upgrade copies of an old bus, killed with -9 at every step: `... kill_in_upgrade DB FIRST STRIDE RACES SEED`.

A step is a call by which SQLite changes a file, or takes or releases a lock on it; every second step of a write kills
halfway through it. The first process is killed at the step FIRST, the next STRIDE steps later, and so on, until one
completes. Then, RACES times, several processes open a copy at once, and most are killed at a random step. Each copy is
opened once more and compared. It prints a JSON line for each copy with the `differences`, and at the end `end`.
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


class _StepCounter:
    """Counts steps, and kills the process at the last one."""

    def __init__(self, steps: int) -> None:
        self._remaining = steps

    def count(self, at_the_end: Callable[[], object] = bool) -> None:
        """Count one step; before the kill it calls `at_the_end`."""
        self._remaining -= 1
        if not self._remaining:
            at_the_end()
            os.kill(os.getpid(), signal.SIGKILL)


class _File(apsw.VFSFile):
    def __init__(self, step: _StepCounter, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._counter = step
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 as it is called
        real = super().xWrite
        self._counter.count()
        self._counter.count(lambda: real(data[: len(data) // 2], offset))
        real(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 as it is called
        self._counter.count()
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 as it is called
        self._counter.count()
        super().xSync(flags)

    def xLock(self, level: int) -> None:  # noqa: N802 as it is called
        super().xLock(level)
        self._counter.count()

    def xUnlock(self, level: int) -> None:  # noqa: N802 as it is called
        self._counter.count()
        super().xUnlock(level)


class _Vfs(apsw.VFS):
    def __init__(self, step: _StepCounter) -> None:
        self._counter = step
        super().__init__("raven-step", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802 as it is called
        return _File(self._counter, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 as it is called
        self._counter.count()
        super().xDelete(filename, syncdir)


def main() -> None:
    """Print a line for each copy."""
    original, (step, stride, races, seed) = sys.argv[1], map(int, sys.argv[2:])
    rng = random.Random(seed)
    while _upgrade_copy(original, f"{original}-step-{step}", [step]):
        step += stride
    for number in range(races):
        _upgrade_copy(original, f"{original}-race-{number}", [rng.randint(1, _LATEST_STEP) for _ in range(_TOGETHER)])
    print("end", flush=True)


def _upgrade_copy(original: str, copy: str, steps: list[int]) -> int:
    """Open a copy with one process per step in `steps`, and print the result; returns how many were killed."""
    # This process may copy the files, because it never opens a bus itself.
    for end in ("", "-wal"):
        if os.path.exists(original + end):
            shutil.copyfile(original + end, copy + end)
    gate, opened = os.pipe()
    children = [_fork(lambda step=step: _upgrade(copy, gate, opened, step)) for step in steps]  # type: ignore[misc]
    os.close(gate)
    os.close(opened)
    ends = [os.waitpid(child, 0)[1] for child in children]
    killed = sum(os.WIFSIGNALED(end) for end in ends)
    failed = sum(not os.WIFSIGNALED(end) and os.waitstatus_to_exitcode(end) != 0 for end in ends)
    result = Path(f"{copy}-differences")
    is_upgraded = killed + failed < len(steps)
    end = os.waitpid(_fork(lambda: result.write_text(json.dumps(_compare(copy, is_upgraded)), encoding="utf-8")), 0)[1]
    differences = json.loads(result.read_text(encoding="utf-8")) if end == 0 else ["it cannot be opened"]
    if failed:
        differences.append(f"{failed} processes that were not killed could not open it")
    result_line = {"copy": os.path.basename(copy), "steps": steps, "killed": killed, "differences": differences}
    print(json.dumps(result_line), flush=True)
    return killed


def _upgrade(path: str, gate: int, opened: int, step: int) -> None:
    os.close(opened)
    os.read(gate, 1)
    vfs = _Vfs(_StepCounter(step))
    with BusClient.at(f"opener-{step}:late", path, busy_timeout_s=20) as bus:
        bus.send("reader:late", "note", "after the upgrade")
    del vfs


def _compare(path: str, is_upgraded: bool) -> list[str]:
    """Return the differences; if a process was not killed, its message must be stored."""
    differences = old_bus.differences(path)
    with BusClient.at("reader:late", path, register=False) as bus:
        if is_upgraded and not bus.inbox(peek=True):
            differences.append("the message sent after the upgrade is lost")
    return differences


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
