"""Death: a process that kills itself with -9 at the nth step it takes, so that a seed chooses where it dies.

The steps are those that SQLite takes with its files (`io`: before one, after it, or with half of a write done) or
the lines of raven's code that it comes to (`line`): among them are all moments between two steps of the bus.
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
_HELPER = str(Path(raven.__file__).parents[1] / "rpc")


class Death:
    """Comes at the nth step; `moment` says whether before it, after it, or in the middle."""

    def __init__(self, journal: Journal, of: str, nth: int, moment: str) -> None:
        self._journal = journal
        self._of = of
        self._left = nth
        self._moment = moment

    def is_due(self) -> bool:
        """Count a step; returns whether it is the last."""
        self._left -= 1
        return self._left == 0

    def come(self, place: str) -> None:
        """Die."""
        self._journal.write("dying", of=self._of, place=place)
        os.kill(os.getpid(), signal.SIGKILL)

    def step(self, place: str, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Do one step, and die in it if it is the last."""
        if not self.is_due():
            return act()
        if self._moment == "halfway" and half is not None:
            half()
        elif self._moment == "after":
            act()
        return self.come(f"{self._moment} {place}")


class _File(apsw.VFSFile):
    """A file whose steps are counted. Locks on the shared memory pass by unseen: xFileControl stands around them."""

    def __init__(self, base: str, name: Any, flags: list[int], death: Death) -> None:
        super().__init__(base, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self._kind = path.rpartition("-")[2] if path.endswith(("-wal", "-journal")) else "file"
        self._death = death

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
        return self._death.step(f"{name} of the {self._kind}", act, half)


class _Files(apsw.VFS):
    """SQLite's own way to files, in whose place this stands, with the steps counted."""

    def __init__(self, death: Death) -> None:
        self._base = apsw.vfs_names()[0]
        self._death = death
        super().__init__("death", self._base, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return self._death.step("xOpen", lambda: _File(self._base, name, flags, self._death))

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        self._death.step("xDelete", lambda: super(_Files, self).xDelete(name, sync))


def arm(journal: Journal, of: str, nth: int, moment: str) -> object:
    """Let this process die at its nth step; what is returned must be kept as long as it lives."""
    death = Death(journal, of, nth, moment)
    if of == "io":
        return _Files(death)

    def on_line(frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and death.is_due():
            death.come(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        return on_line

    def on_call(frame: FrameType, event: str, _: object) -> Any:
        return on_line if frame.f_code.co_filename.startswith((_RAVEN, _HELPER)) else None

    threading.settrace(on_call)
    sys.settrace(on_call)
    return death
