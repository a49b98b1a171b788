"""Diskette: what a disk can hold after the power went, by the log of what it was told.

What a file was synced with is there. Of each later write, any part may be there and any other not, in whatever order
they came; where a file grew, what was not written yet reads as zeros or as anything. The names in the folder are as
they were at some moment since the folder was synced, each by itself. See https://sqlite.org/atomiccommit.html#hardware.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from scripts.stress.power.write_log import Cut, Entry, Made, Removed, Synced, Wrote

SECTOR = 512
Image = dict[str, bytes]


class _Change(NamedTuple):
    place: int
    entry: Wrote | Cut


class Diskette:
    """The state of a folder on the disk, as far as its log was applied."""

    def __init__(self) -> None:
        self._safe: dict[int, bytes] = {}
        self._pending: dict[int, list[_Change]] = {}
        # Of each name, the files that it has meant since the folder was synced, from what is safe to what is newest.
        self._names: dict[str, list[tuple[int, int | None]]] = {}

    def apply(self, place: int, entry: Entry) -> None:
        """Go on by one entry of the log."""
        match entry:
            case Made(file, name):
                self._safe[file], self._pending[file] = b"", []
                self._names.setdefault(name, [(-1, None)]).append((place, file))
            case Removed(name, folder):
                self._names[name].append((place, None))
                if folder:
                    self._sync_names(place)
            case Wrote() | Cut():
                self._pending[entry.file].append(_Change(place, entry))
            case Synced(file, begun, folder):
                pending = self._pending[file]
                done = [change.entry for change in pending if change.place < begun]
                self._safe[file] = _apply(self._safe[file], done)
                self._pending[file] = [change for change in pending if change.place > begun]
                if folder:
                    self._sync_names(begun)

    def loses_nothing(self) -> bool:
        """Whether all that was written is safe."""
        return not any(self._pending.values()) and all(len(versions) == 1 for versions in self._names.values())

    def image(self, loss: str, chance: random.Random) -> Image:
        """Return the files after a loss of one of the kinds in LOSSES."""
        lose = LOSSES[loss]
        contents: dict[int, bytes] = {}
        image = {}
        for name, versions in self._names.items():
            file = _choose_name(loss, chance, versions)
            if file is not None:
                if file not in contents:
                    pending = [change.entry for change in self._pending[file]]
                    contents[file] = lose(chance, self._safe[file], pending)
                image[name] = contents[file]
        return image

    def _sync_names(self, before: int) -> None:
        for versions in self._names.values():
            while len(versions) > 1 and versions[1][0] <= before:
                del versions[0]


def _choose_name(loss: str, chance: random.Random, versions: list[tuple[int, int | None]]) -> int | None:
    if loss == "least":
        return versions[0][1]
    if loss == "most":
        return versions[-1][1]
    return chance.choice(versions)[1]


def _least(chance: random.Random, safe: bytes, pending: list[Wrote | Cut]) -> bytes:
    """Lose all that was not synced."""
    return safe


def _most(chance: random.Random, safe: bytes, pending: list[Wrote | Cut]) -> bytes:
    """Lose nothing."""
    return _apply(safe, pending)


def _one_file(chance: random.Random, safe: bytes, pending: list[Wrote | Cut]) -> bytes:
    """Lose all of some files and nothing of the others."""
    return chance.choice((_least, _most))(chance, safe, pending)


def _torn(chance: random.Random, safe: bytes, pending: list[Wrote | Cut]) -> bytes:
    """Lose all from some byte of some write on."""
    kept = pending[: chance.randint(0, len(pending))]
    if kept and isinstance(kept[-1], Wrote):
        last = kept[-1]
        kept[-1] = Wrote(last.file, last.offset, last.data[: chance.randint(0, len(last.data))])
    return _apply(safe, kept)


def _scattered(chance: random.Random, safe: bytes, pending: list[Wrote | Cut]) -> bytes:
    """Lose some whole writes among the others; mostly few, or nearly all."""
    kept = chance.choice((0.1, 0.5, 0.9, 0.97))
    return _apply(safe, [entry for entry in pending if chance.random() < kept])


def _sectors(chance: random.Random, safe: bytes, pending: list[Wrote | Cut]) -> bytes:
    """Lose some sectors of any write."""
    kept = chance.choice((0.1, 0.5, 0.9, 0.99))
    return _apply(safe, [piece for entry in pending for piece in _split(entry) if chance.random() < kept])


def _stretched(chance: random.Random, safe: bytes, pending: list[Wrote | Cut]) -> bytes:
    """Keep the size, and lose some of what was written: zeros stand there, or anything."""
    filler = chance.choice((bytes, chance.randbytes))
    kept = chance.choice((0.0, 0.5, 0.9))
    size = len(_apply(safe, pending))
    return _apply(safe, [*(entry for entry in pending if chance.random() < kept), Cut(0, size)], filler)


LOSSES: dict[str, Callable[[random.Random, bytes, list[Wrote | Cut]], bytes]] = {
    "least": _least,
    "most": _most,
    "one file": _one_file,
    "torn": _torn,
    "scattered": _scattered,
    "sectors": _sectors,
    "stretched": _stretched,
}
# Of these there is but one image each at any moment.
CERTAIN = ("least", "most")


def _apply(content: bytes, entries: Iterable[Wrote | Cut], filler: Callable[[int], bytes] = bytes) -> bytes:
    found = bytearray(content)
    for entry in entries:
        if isinstance(entry, Cut):
            del found[entry.size :]
            found += filler(entry.size - len(found)) if entry.size > len(found) else b""
        else:
            if entry.offset > len(found):
                found += filler(entry.offset - len(found))
            found[entry.offset : entry.offset + len(entry.data)] = entry.data
    return bytes(found)


def _split(entry: Wrote | Cut) -> Iterator[Wrote | Cut]:
    """Yield the parts of a write that lie in one sector each."""
    if isinstance(entry, Cut):
        yield entry
        return
    begin, end = entry.offset, entry.offset + len(entry.data)
    while begin < end:
        until = min(end, (begin // SECTOR + 1) * SECTOR)
        yield Wrote(entry.file, begin, entry.data[begin - entry.offset : until - entry.offset])
        begin = until
