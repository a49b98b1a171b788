"""Recorder: an SQLite VFS that does what the system's own does, and keeps a log of it.

While it is registered it is the default one, so that raven and its helper use it without knowing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Self

import apsw

from scripts.stress.power.write_log import Cut, SyncBegun, Synced, WriteLog, Wrote

# The first sync of one of these that was opened to be made syncs the folder, too: see unixOpen in SQLite's os_unix.c.
_SYNCS_FOLDER = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL


class Recorder(apsw.VFS):
    """Records the files of one folder, from the first to the last; the others it leaves alone.

    A sync takes `flush_s` seconds more than the disk takes, so that other threads come in between.
    """

    def __init__(self, folder: Path, log: WriteLog, *, flush_s: float = 0.0) -> None:
        self._folder = os.path.realpath(folder)
        self._log = log
        self._flush_s = flush_s
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.endswith("-shm"):
                log.keep(path.name, path.read_bytes())
        self.begin = len(log.entries)
        self.base = apsw.vfs_names()[0]
        super().__init__(f"recorder-{id(self)}", self.base, makedefault=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.unregister()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 SQLite's name
        """Open a file, and note it where it is new."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or os.path.dirname(path) != self._folder:
            return super().xOpen(name, flags)
        asked = flags[0]
        with self._log.lock:
            opened = _File(self.base, name, flags, self._log, self._flush_s)
            known = self._log.file_of(os.path.basename(path))
            opened.file = self._log.make(os.path.basename(path)) if known is None else known
            opened.syncs_folder = bool(asked & _SYNCS_FOLDER) and bool(asked & apsw.SQLITE_OPEN_CREATE)
        return opened

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """Delete a file, and note it."""
        with self._log.lock:
            super().xDelete(filename, syncdir)
            if os.path.dirname(filename) == self._folder:
                self._log.remove(os.path.basename(filename), folder=bool(syncdir))


class _File(apsw.VFSFile):
    """An open file of the folder."""

    file = 0
    syncs_folder = False

    def __init__(
        self, base: str, name: str | apsw.URIFilename | None, flags: list[int], log: WriteLog, flush_s: float
    ) -> None:
        super().__init__(base, name, flags)
        self._log = log
        self._flush_s = flush_s

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._log.add(Wrote(self.file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._log.add(Cut(self.file, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        wholly = flags & apsw.SQLITE_SYNC_FULL == apsw.SQLITE_SYNC_FULL
        begun = self._log.add(SyncBegun(self.file, wholly))
        if self._flush_s:
            time.sleep(self._flush_s)
        super().xSync(flags)
        self._log.add(Synced(self.file, begun, self.syncs_folder))
        self.syncs_folder = False


class Hasty(apsw.VFS):
    """While it is registered, no sync waits for the disk: for files that nobody wants to keep."""

    def __init__(self) -> None:
        self.base = apsw.vfs_names()[0]
        super().__init__(f"hasty-{id(self)}", self.base, makedefault=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.unregister()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        """Open a file."""
        return _HastyFile(self.base, name, flags)


class _HastyFile(apsw.VFSFile):
    def xSync(self, flags: int) -> None:  # noqa: N802
        pass
