"""Self-kill: a process kills itself with -9 at its nth step, so that a seed decides the step.

The steps are SQLite's calls on its files (`io`: before a call, after it, or halfway through a write) or the lines of
raven's code (`line`). Every moment between two steps of the bus is among them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import apsw

import raven
from scripts.stress.history.journal import Journal

_RAVEN = str(Path(raven.__file__).parent)
_RPC = str(Path(raven.__file__).parents[1] / "rpc")


class SelfKill:
    """Kills this process at its nth step; `moment` is `before`, `after` or `halfway`."""

    def __init__(self, journal: Journal, kind: str, nth: int, moment: str) -> None:
        self._journal = journal
        self._kind = kind
        self._remaining = nth
        self._moment = moment

    def is_due(self) -> bool:
        """Count a step; returns whether it is the last."""
        self._remaining -= 1
        return self._remaining == 0

    def kill(self, location: str) -> None:
        """Record the location, and kill this process."""
        self._journal.write("dying", of=self._kind, place=location)
        os.kill(os.getpid(), signal.SIGKILL)

    def step(self, location: str, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Do one step, or kill this process in it if it is the last."""
        if not self.is_due():
            return act()
        if self._moment == "halfway" and half is not None:
            half()
        elif self._moment == "after":
            act()
        return self.kill(f"{self._moment} {location}")


class _File(apsw.VFSFile):
    """A file that counts its calls. apsw hides the locks on the shared memory; xFileControl comes before and after."""

    def __init__(self, base: str, name: Any, flags: list[int], self_kill: SelfKill) -> None:
        super().__init__(base, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self._kind = path.rpartition("-")[2] if path.endswith(("-wal", "-journal")) else "file"
        self._self_kill = self_kill

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 SQLite's names
        return self._step("xRead", lambda: super(_File, self).xRead(amount, offset))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        half = data[: len(data) // 2]
        self._step(
            "xWrite",
            lambda: super(_File, self).xWrite(data, offset),
            lambda: super(_File, self).xWrite(half, offset),
        )

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._step("xSync", lambda: super(_File, self).xSync(flags))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._step("xTruncate", lambda: super(_File, self).xTruncate(size))

    def xLock(self, level: int) -> None:  # noqa: N802
        self._step("xLock", lambda: super(_File, self).xLock(level))

    def xUnlock(self, level: int) -> None:  # noqa: N802
        self._step("xUnlock", lambda: super(_File, self).xUnlock(level))

    def xFileControl(self, operation: int, pointer: int) -> bool:  # noqa: N802
        return self._step("xFileControl", lambda: super(_File, self).xFileControl(operation, pointer))

    def xClose(self) -> None:  # noqa: N802
        self._step("xClose", super().xClose)

    def _step(self, name: str, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        return self._self_kill.step(f"{name} of the {self._kind}", act, half)


class _CountingVFS(apsw.VFS):
    """The default VFS, which counts its calls and passes them on to SQLite's own."""

    def __init__(self, self_kill: SelfKill) -> None:
        self._base = apsw.vfs_names()[0]
        self._self_kill = self_kill
        super().__init__("self-kill", self._base, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return self._self_kill.step("xOpen", lambda: _File(self._base, name, flags, self._self_kill))

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        self._self_kill.step("xDelete", lambda: super(_CountingVFS, self).xDelete(name, sync))


def arm(journal: Journal, kind: str, nth: int, moment: str) -> object:
    """Make this process kill itself at its nth step; the caller must keep the returned object."""
    self_kill = SelfKill(journal, kind, nth, moment)
    if kind == "io":
        return _CountingVFS(self_kill)

    def on_line(frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and self_kill.is_due():
            self_kill.kill(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        return on_line

    def on_call(frame: FrameType, event: str, _: object) -> Any:
        return on_line if frame.f_code.co_filename.startswith((_RAVEN, _RPC)) else None

    threading.settrace(on_call)
    sys.settrace(on_call)
    return self_kill
