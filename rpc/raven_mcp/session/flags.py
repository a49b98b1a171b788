"""Flags: files that are there exactly while a session has mail that it was not told of.

A hook of a command costs a millisecond without mail, because its shell looks for the file before it runs `raven hook`.
"""

from __future__ import annotations

import os
from contextlib import suppress

from raven.wake.fifo import age_s
from raven_mcp.session import own_files
from raven_mcp.session.announced import flags_folder, is_native_id

_HOME = os.path.join("~", ".raven")
_ATTEMPTS = 3
# A file of a session that has not changed for so long is removed: that session will not go on.
_KEEP_S = 30 * 86400.0


def home_folder() -> str:
    """Return the folder of the flags whose path a shell knows without the bus."""
    return os.path.join(os.path.expanduser(_HOME), "flags")


class Flag:
    """The flag of one session: a file beside the bus, and one of the same name in the user's home.

    A session whose name cannot be the name of a file has no flag. A folder that cannot be written has none either: its
    hooks then tell of no mail, and the server's other ways remain. If the host does not know the name, the flag in the
    home has the number of its process instead, `host_pid`, which the shell of a hook knows as $PPID.
    """

    def __init__(self, db_path: str, native_id: str, host_pid: int | None = None) -> None:
        names = {flags_folder(db_path): native_id, home_folder(): str(host_pid) if host_pid else native_id}
        self._paths = [os.path.join(folder, name) for folder, name in names.items() if is_native_id(native_id)]
        self._is_up: bool | None = None

    @property
    def is_up(self) -> bool:
        """Whether the flag was raised last."""
        return bool(self._is_up)

    def set(self, is_up: bool) -> None:
        """Raise or lower the flag."""
        if is_up != self._is_up:
            self._is_up = is_up
            for path in self._paths:
                with suppress(OSError):
                    _raise(path) if is_up else own_files.remove(path)


def sweep(db_path: str) -> None:
    """Remove the files of sessions that have not changed for 30 days; a symlink or another user's folder is left."""
    for folder in (flags_folder(db_path), home_folder()):
        with suppress(OSError):
            own_files.check_folder(folder)
            with os.scandir(folder) as entries:
                old = [entry.path for entry in entries if age_s(entry.path) > _KEEP_S]
            for path in old:
                with suppress(OSError):
                    os.unlink(path)


def _raise(path: str) -> None:
    folder = os.path.dirname(path)
    # The maintenance of the bus may remove the folder while it is empty.
    for _ in range(_ATTEMPTS):
        own_files.make_folder(folder)
        with suppress(FileNotFoundError):
            return os.close(
                os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
            )
    return None
