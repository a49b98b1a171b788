"""Shift: how far the clocks of a trial's processes are off, for all of them at once."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_FORM = struct.Struct("q")


class Shift:
    """So many microseconds, in a file that processes share as memory: whoever reads it next sees what was set last."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        with open(path, "a+b") as file:
            file.truncate(_FORM.size)
            self._memory = mmap.mmap(file.fileno(), _FORM.size)

    def micros(self) -> int:
        """Return how far the clocks are off."""
        return int(_FORM.unpack_from(self._memory)[0])

    def set(self, seconds: float) -> None:
        """Step the clocks of all processes that are `shifted` by this file to so far from the machine's own."""
        _FORM.pack_into(self._memory, 0, round(seconds * 1_000_000))
