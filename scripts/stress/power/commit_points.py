"""Commit points: the commits in a write log, by the frames of the WAL.

A frame whose header has the size of the database ends a commit: see https://sqlite.org/fileformat2.html#walformat.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.stress.power.write_log import Created, Entry, Written

_HEADER = 32
_FRAME = 24


@dataclass
class Commit:
    """A commit, by the indexes of the first entry of its last frame and of its last entry."""

    begun: int
    ended: int


def commits(entries: Sequence[Entry]) -> list[Commit]:
    """Return the commits of a log, in order."""
    points: list[Commit] = []
    wals: set[int] = set()
    size, end = 0, 0
    for index, entry in enumerate(entries):
        if isinstance(entry, Created) and entry.name.endswith("-wal"):
            wals.add(entry.file)
        if not isinstance(entry, Written) or entry.file not in wals:
            continue
        if entry.offset == 0 and len(entry.data) >= _HEADER:
            (size,) = struct.unpack(">8xI", entry.data[:12])
            end = 0
        elif points and _HEADER <= entry.offset < end:
            # The rest of the last frame, or its rewritten checksums.
            points[-1].ended = index
        elif len(entry.data) == _FRAME and struct.unpack(">4xI", entry.data[:8])[0]:
            points.append(Commit(index, index))
            end = entry.offset + _FRAME + size
    return points
