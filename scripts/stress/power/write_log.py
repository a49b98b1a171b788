"""Write log: the calls on the files of one folder, in the order in which the disk gets them."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Created:
    """A new, empty file got a name in the folder."""

    file: int
    name: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A name was removed; with `folder`, the folder was synced as well."""

    name: str
    folder: bool


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes were written to a file."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    """A file was truncated, or extended, to a size."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class SyncBegun:
    """A sync of a file began; with `wholly`, also of the disk's own cache (F_FULLFSYNC)."""

    file: int
    wholly: bool = False


@dataclass(frozen=True, slots=True)
class Synced:
    """A sync ended: the writes before the entry at `begun` are safe; with `folder`, the names are safe, too."""

    file: int
    begun: int
    folder: bool


@dataclass(frozen=True, slots=True)
class StepMark:
    """A step of the program began or returned."""

    step: int
    has_returned: bool


Entry = Created | Removed | Written | Truncated | SyncBegun | Synced | StepMark


class WriteLog:
    """The entries of all threads in one order. A write is logged before any other thread can read it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.lock = threading.RLock()
        self._files: dict[str, int] = {}
        self._count = 0

    def add(self, entry: Entry) -> int:
        """Add an entry; returns its index."""
        with self.lock:
            self.entries.append(entry)
            return len(self.entries) - 1

    def add_old(self, name: str, content: bytes) -> None:
        """Add a file that is safe on the disk before the first step."""
        file = self.make(name)
        self.add(Written(file, 0, content))
        self.add(Synced(file, self.add(SyncBegun(file)), True))

    def make(self, name: str) -> int:
        """Record a new file; returns its number."""
        with self.lock:
            self._count += 1
            self._files[name] = self._count
            self.add(Created(self._count, name))
            return self._count

    def file_of(self, name: str) -> int | None:
        """Return the number of the file with this name, or None."""
        return self._files.get(name)

    def remove(self, name: str, *, folder: bool) -> None:
        """Record the removal of a name."""
        with self.lock:
            self._files.pop(name, None)
            self.add(Removed(name, folder))
