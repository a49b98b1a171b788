"""Disk model: the possible contents of a disk after a power cut, from the log of its calls.

A synced write is safe. Any part of a later write may be on the disk and any other part not, in any order. If a file
grew, its unwritten part reads as zeros or as random bytes. Each name in the folder is independently as it was at some
moment since the last sync of the folder. See https://sqlite.org/atomiccommit.html#hardware.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from scripts.stress.power.write_log import Created, Entry, Removed, Synced, Truncated, Written

SECTOR = 512
Image = dict[str, bytes]


class _Change(NamedTuple):
    position: int
    entry: Written | Truncated


class DiskModel:
    """The state of a folder on the disk, after the applied entries of its log."""

    def __init__(self) -> None:
        self._safe: dict[int, bytes] = {}
        self._pending: dict[int, list[_Change]] = {}
        # By name, the files that had it since the last sync of the folder, from the safe one to the newest.
        self._names: dict[str, list[tuple[int, int | None]]] = {}

    def apply(self, index: int, entry: Entry) -> None:
        """Apply the next entry of the log."""
        match entry:
            case Created(file, name):
                self._safe[file], self._pending[file] = b"", []
                self._names.setdefault(name, [(-1, None)]).append((index, file))
            case Removed(name, folder):
                self._names[name].append((index, None))
                if folder:
                    self._sync_names(index)
            case Written() | Truncated():
                self._pending[entry.file].append(_Change(index, entry))
            case Synced(file, begun, folder):
                pending = self._pending[file]
                done = [change.entry for change in pending if change.position < begun]
                self._safe[file] = _apply(self._safe[file], done)
                self._pending[file] = [change for change in pending if change.position > begun]
                if folder:
                    self._sync_names(begun)

    def loses_nothing(self) -> bool:
        """Whether every write is safe."""
        return not any(self._pending.values()) and all(len(versions) == 1 for versions in self._names.values())

    def image(self, loss: str, rng: random.Random) -> Image:
        """Return the files after a loss of one of the kinds in LOSSES."""
        lose = LOSSES[loss]
        contents: dict[int, bytes] = {}
        image = {}
        for name, versions in self._names.items():
            file = _choose_name(loss, rng, versions)
            if file is not None:
                if file not in contents:
                    pending = [change.entry for change in self._pending[file]]
                    contents[file] = lose(rng, self._safe[file], pending)
                image[name] = contents[file]
        return image

    def _sync_names(self, before: int) -> None:
        for versions in self._names.values():
            while len(versions) > 1 and versions[1][0] <= before:
                del versions[0]


def _choose_name(loss: str, rng: random.Random, versions: list[tuple[int, int | None]]) -> int | None:
    if loss == "least":
        return versions[0][1]
    if loss == "most":
        return versions[-1][1]
    return rng.choice(versions)[1]


def _least(rng: random.Random, safe: bytes, pending: list[Written | Truncated]) -> bytes:
    """Lose all unsynced writes."""
    return safe


def _most(rng: random.Random, safe: bytes, pending: list[Written | Truncated]) -> bytes:
    """Lose nothing."""
    return _apply(safe, pending)


def _one_file(rng: random.Random, safe: bytes, pending: list[Written | Truncated]) -> bytes:
    """Lose all of some files and nothing of the others."""
    return rng.choice((_least, _most))(rng, safe, pending)


def _torn(rng: random.Random, safe: bytes, pending: list[Written | Truncated]) -> bytes:
    """Lose everything after a random byte of a random write."""
    kept = pending[: rng.randint(0, len(pending))]
    if kept and isinstance(kept[-1], Written):
        last = kept[-1]
        kept[-1] = Written(last.file, last.offset, last.data[: rng.randint(0, len(last.data))])
    return _apply(safe, kept)


def _scattered(rng: random.Random, safe: bytes, pending: list[Written | Truncated]) -> bytes:
    """Lose random whole writes; mostly few, or nearly all."""
    share_kept = rng.choice((0.1, 0.5, 0.9, 0.97))
    return _apply(safe, [entry for entry in pending if rng.random() < share_kept])


def _sectors(rng: random.Random, safe: bytes, pending: list[Written | Truncated]) -> bytes:
    """Lose random sectors of each write."""
    share_kept = rng.choice((0.1, 0.5, 0.9, 0.99))
    return _apply(safe, [piece for entry in pending for piece in _split(entry) if rng.random() < share_kept])


def _stretched(rng: random.Random, safe: bytes, pending: list[Written | Truncated]) -> bytes:
    """Keep the size, and lose random writes: zeros or random bytes stand there."""
    filler = rng.choice((bytes, rng.randbytes))
    share_kept = rng.choice((0.0, 0.5, 0.9))
    size = len(_apply(safe, pending))
    return _apply(safe, [*(entry for entry in pending if rng.random() < share_kept), Truncated(0, size)], filler)


LOSSES: dict[str, Callable[[random.Random, bytes, list[Written | Truncated]], bytes]] = {
    "least": _least,
    "most": _most,
    "one file": _one_file,
    "torn": _torn,
    "scattered": _scattered,
    "sectors": _sectors,
    "stretched": _stretched,
}
# These two have only one image at each moment.
CERTAIN = ("least", "most")


def _apply(content: bytes, entries: Iterable[Written | Truncated], filler: Callable[[int], bytes] = bytes) -> bytes:
    content_after = bytearray(content)
    for entry in entries:
        if isinstance(entry, Truncated):
            del content_after[entry.size :]
            content_after += filler(entry.size - len(content_after)) if entry.size > len(content_after) else b""
        else:
            if entry.offset > len(content_after):
                content_after += filler(entry.offset - len(content_after))
            content_after[entry.offset : entry.offset + len(entry.data)] = entry.data
    return bytes(content_after)


def _split(entry: Written | Truncated) -> Iterator[Written | Truncated]:
    """Yield the parts of a write, one for each sector."""
    if isinstance(entry, Truncated):
        yield entry
        return
    begin, end = entry.offset, entry.offset + len(entry.data)
    while begin < end:
        until = min(end, (begin // SECTOR + 1) * SECTOR)
        yield Written(entry.file, begin, entry.data[begin - entry.offset : until - entry.offset])
        begin = until
