"""FIFOs: the files that doorbells are, opened so that no open blocks and no other file type is touched.

Those of another user, or open to others, do not count: they would tell that user of each message, and a reader of
theirs would pass for a waiting subscriber.

See fifo(7) and open(2).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

from raven.files.ownership import counts, distrust_at

TEMPORARY_PREFIX = ".new-"
_CAN_SEE_RINGS = sys.platform == "linux"
FLAGS = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def ping(path: str, ring: bool) -> bool:
    """Open one FIFO, and ring it if asked to; return whether it has a reader. Removes a FIFO without one."""
    return _ping(path, ring, only_idle=False) is not None


def ring_one(paths: Iterable[str]) -> bool:
    """Ring the first FIFO whose reader has no ring to answer; return whether any FIFO has a reader.

    A reader with a ring in its pipe will look for mail by itself, so that the others are its peers' turn. Only Linux
    tells by the write end what a pipe holds: elsewhere all are rung.
    """
    has_reader = False
    for path in paths:
        state = _ping(path, True, only_idle=_CAN_SEE_RINGS)
        has_reader = has_reader or state is not None
        if state and _CAN_SEE_RINGS:
            break
    return has_reader


def _ping(path: str, ring: bool, *, only_idle: bool) -> bool | None:
    """Open one FIFO, and ring it if asked to; returns None, and removes it, if it has no reader.

    With `only_idle`, do not ring a FIFO that holds a ring, and return False for it.
    """
    opened: list[int] = []
    try:
        opened.extend(map(os.open, (path,), (os.O_WRONLY | FLAGS,)))  # C code records it, see Doorbell
        pipe = opened[0]
        if not counts(os.fstat(pipe), stat.S_IFIFO, private=True):
            return None
        if only_idle and holds_ring(pipe):
            return False
        if ring:
            os.write(pipe, b"!")
    except BlockingIOError:
        return True
    except OSError as error:
        if not opened and error.errno == errno.ENXIO:
            with suppress(OSError):
                if stat.S_ISFIFO(os.stat(path, follow_symlinks=False).st_mode):
                    os.unlink(path)
        return None
    finally:
        if opened:
            os.close(opened[0])
    return True


def holds_ring(pipe: int) -> bool:
    """Whether a pipe holds an unread ring; by a write end only Linux tells."""
    # A send to an address without several waiters does not need these modules.
    import fcntl
    import termios

    return any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))


def list_fifos(folder: str, *, temporaries: bool = False) -> list[str] | None:
    """List the possible FIFOs in a folder; returns None if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return [
                entry.path
                for entry in entries
                if (temporaries or not entry.name.startswith(TEMPORARY_PREFIX)) and _may_be_fifo(entry)
            ]
    except OSError:
        return None


def _may_be_fifo(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is neither file, folder nor symlink: the listing knows this without a system call."""
    return not (entry.is_symlink() or entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False))


def is_own_folder(path: str) -> bool:
    """Whether the path is a folder, not a symlink to one, of a trusted user, in which no other user can write."""
    try:
        return counts(os.stat(path, follow_symlinks=False), stat.S_IFDIR)
    except OSError:
        return False


def list_own_folders(path: str) -> list[str]:
    """Return the folders in a folder in which no other user can write, and none if others can write in that one."""
    if not is_own_folder(path):
        return []
    with suppress(OSError), os.scandir(path) as entries:
        return [entry.path for entry in entries if is_own_folder(entry.path)]
    return []


def check_own_folder(path: str) -> None:
    """Raise PermissionError, with the owner and the remedy, if a folder is another user's or others can write in it."""
    distrust = distrust_at(path, stat.S_IFDIR)
    if distrust is not None:
        raise PermissionError(errno.EPERM, str(distrust), path)


def identity_at(path: str) -> tuple[int, int]:
    """Return the device and inode of a path, without following a symlink."""
    status = os.stat(path, follow_symlinks=False)
    return status.st_dev, status.st_ino


def age_s(path: str) -> float:
    """Return the seconds since the file was last changed, by the system clock; 0 if it is gone."""
    try:
        return time.time() - os.stat(path, follow_symlinks=False).st_mtime
    except OSError:
        return 0
