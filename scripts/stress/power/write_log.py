"""Write log: what was done to the files of one folder, in order, as a disk is told of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Made:
    """A name in the folder was given to a new, empty file."""

    file: int
    name: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A name was taken away; with `folder`, the folder was synced as well."""

    name: str
    folder: bool


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes went to a place in a file."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """A file was cut, or stretched, to a size."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class SyncBegun:
    """A file's writes so far are to be made safe; with `wholly` past the disk's own cache, where that is asked for."""

    file: int
    wholly: bool = False


@dataclass(frozen=True, slots=True)
class Synced:
    """What a file was written before the entry at `begun` is safe now; with `folder`, the names are, too."""

    file: int
    begun: int
    folder: bool


@dataclass(frozen=True, slots=True)
class Noted:
    """A step of the program began, or returned."""

    step: int
    has_returned: bool


Entry = Made | Removed | Wrote | Cut | SyncBegun | Synced | Noted


class WriteLog:
    """The entries of all threads in one order. A write stands here before anybody else can build on it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.lock = threading.RLock()
        self._files: dict[str, int] = {}
        self._count = 0

    def add(self, entry: Entry) -> int:
        """Add an entry; returns its place."""
        with self.lock:
            self.entries.append(entry)
            return len(self.entries) - 1

    def keep(self, name: str, content: bytes) -> None:
        """Begin with a file that has been on the disk for long."""
        file = self.make(name)
        self.add(Wrote(file, 0, content))
        self.add(Synced(file, self.add(SyncBegun(file)), True))

    def make(self, name: str) -> int:
        """Note a new file; returns its number."""
        with self.lock:
            self._count += 1
            self._files[name] = self._count
            self.add(Made(self._count, name))
            return self._count

    def file_of(self, name: str) -> int | None:
        """Return the number of the file that has a name."""
        return self._files.get(name)

    def remove(self, name: str, *, folder: bool) -> None:
        """Note that a name is no more."""
        with self.lock:
            self._files.pop(name, None)
            self.add(Removed(name, folder))
