"""Clock offset: the offset of the clocks of all processes of a trial."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_FORMAT = struct.Struct("q")


class ClockOffset:
    """An offset in microseconds, in a file that processes map as shared memory: each read gets the last value set."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        with open(path, "a+b") as file:
            file.truncate(_FORMAT.size)
            self._memory = mmap.mmap(file.fileno(), _FORMAT.size)

    def micros(self) -> int:
        """Return the offset in microseconds."""
        return int(_FORMAT.unpack_from(self._memory)[0])

    def set(self, seconds: float) -> None:
        """Set the offset of all processes that run_with_offset.py runs with this file, in seconds."""
        _FORMAT.pack_into(self._memory, 0, round(seconds * 1_000_000))
