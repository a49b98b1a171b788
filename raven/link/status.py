"""Status: the lock of the one relay of a bus, and the file in which it says how it fares.

Both lie in the folder of the doorbells: `link.lock`, which the relay locks with flock(2) while it runs, and
`link.json`, which it replaces by an atomic rename. Readers: `raven link status` and `raven doctor`.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from contextlib import suppress
from typing import Any, Self

from raven.errors import BindError, abbreviate
from raven.files import ownership

LOCK, STATUS = "link.lock", "link.json"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MAX_BYTES = 1 << 20


def folder_of(db_path: str) -> str:
    """Return the folder of both files, for the path of a bus file."""
    return f"{db_path}-bells"


class RelayLock:
    """The lock that one relay of a bus holds while it runs, with the mark of its run.

    `run` is a new mark; `last_run` is that of the relay that held the lock before on this system since its start, or
    None. A copy of the file elsewhere, or on a cloned machine, does not count.
    """

    def __init__(self, db_path: str) -> None:
        folder = folder_of(db_path)
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        path = os.path.join(folder, LOCK)
        self._descriptor = ownership.open_lock(path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._read().get("pid")
            self.close()
            who = f"process {holder}" if isinstance(holder, int) else "another process"
            raise BindError(
                f"{who} already runs `raven link` for {abbreviate(db_path)}: stop it first, or see `raven link status`"
            ) from None
        last = self._read()
        place = self._place()
        self.last_run = last.get("run") if last.get("place") == place else None
        self.run = secrets.token_hex(8)
        text = json.dumps({"pid": os.getpid(), "run": self.run, "place": place})
        os.pwrite(self._descriptor, text.encode(), 0)
        os.ftruncate(self._descriptor, len(text))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlock the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError, RecursionError):
            content = json.loads(os.pread(self._descriptor, _MAX_BYTES, 0))
            if isinstance(content, dict):
                return content
        return {}

    def _place(self) -> str:
        """Return a text that differs for a copy of the file, and after a start of the system."""
        status = os.fstat(self._descriptor)
        boot = ""
        with suppress(OSError), open(_BOOT_ID, encoding="ascii") as file:
            boot = file.read().strip()
        return f"{status.st_dev}:{status.st_ino}:{boot}"


def is_running(db_path: str) -> bool:
    """Whether a relay of this bus runs on this host."""
    try:
        descriptor = os.open(os.path.join(folder_of(db_path), LOCK), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def write(db_path: str, status: dict[str, Any]) -> None:
    """Replace the status file; raises OSError."""
    path = os.path.join(folder_of(db_path), STATUS)
    temporary = f"{path}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(status, file)
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def read(db_path: str) -> dict[str, Any]:
    """Return the last status that a relay of this bus has written; empty if there is none that counts."""
    path = os.path.join(folder_of(db_path), STATUS)
    with suppress(OSError, ValueError, RecursionError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if ownership.distrust(path, os.fstat(descriptor)) is None:
                status = json.loads(file.read(_MAX_BYTES))
                if isinstance(status, dict):
                    return status
    return {}
