"""Commits: where in a log each commit came to its end, by the frames of the WAL.

A frame whose header tells the size of the database ends one: see https://sqlite.org/fileformat2.html#walformat.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.stress.power.write_log import Entry, Made, Wrote

_HEADER = 32
_FRAME = 24


@dataclass
class Commit:
    """A commit, from the first entry of its last frame to its very last entry."""

    begun: int
    ended: int


def commits(entries: Sequence[Entry]) -> list[Commit]:
    """Return the commits of a log, in order."""
    found: list[Commit] = []
    wals: set[int] = set()
    size, end = 0, 0
    for place, entry in enumerate(entries):
        if isinstance(entry, Made) and entry.name.endswith("-wal"):
            wals.add(entry.file)
        if not isinstance(entry, Wrote) or entry.file not in wals:
            continue
        if entry.offset == 0 and len(entry.data) >= _HEADER:
            (size,) = struct.unpack(">8xI", entry.data[:12])
            end = 0
        elif found and _HEADER <= entry.offset < end:
            # The rest of its last frame, or its checksums written anew.
            found[-1].ended = place
        elif len(entry.data) == _FRAME and struct.unpack(">4xI", entry.data[:8])[0]:
            found.append(Commit(place, place))
            end = entry.offset + _FRAME + size
    return found
