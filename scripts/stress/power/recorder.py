"""Recorder: an SQLite VFS that passes all calls to the default VFS, and logs them.

While it is registered it is the default, so that raven and its server use it without any change.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Self

import apsw

from scripts.stress.power.write_log import SyncBegun, Synced, Truncated, WriteLog, Written

# If SQLite creates a file of these types, the first sync of the file also syncs the folder: see unixOpen in os_unix.c.
_SYNCS_FOLDER = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL


class Recorder(apsw.VFS):
    """Records all files of one folder; other files are not recorded.

    A sync takes `flush_s` seconds longer, so that other threads run during it.
    """

    def __init__(self, folder: Path, log: WriteLog, *, flush_s: float = 0.0) -> None:
        self._folder = os.path.realpath(folder)
        self._log = log
        self._flush_s = flush_s
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.endswith("-shm"):
                log.add_old(path.name, path.read_bytes())
        self.begin = len(log.entries)
        self.base = apsw.vfs_names()[0]
        super().__init__(f"recorder-{id(self)}", self.base, makedefault=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.unregister()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 SQLite's name
        """Open a file, and record it if it is new."""
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
        """Delete a file, and record it."""
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
        self._log.add(Written(self.file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._log.add(Truncated(self.file, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        wholly = flags & apsw.SQLITE_SYNC_FULL == apsw.SQLITE_SYNC_FULL
        begun = self._log.add(SyncBegun(self.file, wholly))
        if self._flush_s:
            time.sleep(self._flush_s)
        super().xSync(flags)
        self._log.add(Synced(self.file, begun, self.syncs_folder))
        self.syncs_folder = False


class NoSyncVFS(apsw.VFS):
    """While this VFS is registered, no sync waits for the disk: for files that only the trial reads."""

    def __init__(self) -> None:
        self.base = apsw.vfs_names()[0]
        super().__init__(f"no-sync-{id(self)}", self.base, makedefault=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.unregister()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        """Open a file."""
        return _NoSyncFile(self.base, name, flags)


class _NoSyncFile(apsw.VFSFile):
    def xSync(self, flags: int) -> None:  # noqa: N802
        pass
