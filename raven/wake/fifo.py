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
from raven.store import fork_safety

TEMPORARY_PREFIX = ".new-"
# A door is another name of a FIFO, see Doors. It comes after the names of all subscribers, which begin with a digit.
DOOR_PREFIX = "door-"
# The end of a door's name if no subscriber waits behind it.
UNATTENDED_SUFFIX = ".unattended"
# The folder of the files of agents' sessions, beside the folders of doorbells.
SESSIONS = "flags"
# The longest time that a signal's handler is delayed while a subscriber waits for mail.
SIGNAL_SLICE_S = 1.0
# The most that a pipe holds, so that one read drains all rings.
_PIPE_SIZE = 1 << 16
_CAN_SEE_RINGS = sys.platform == "linux"
FLAGS = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def ping(path: str, ring: bool) -> bool:
    """Open one FIFO, and ring it if asked to; return whether it has a reader. Removes a FIFO without one."""
    return _ping(path, ring, only_idle=False) is not None


def ring_one(paths: Iterable[str]) -> bool:
    """Ring the first FIFO whose reader has no ring to answer; return whether any FIFO has a reader.

    A reader with a ring in its pipe will look for mail by itself, so that the others are its peers' turn. Only Linux
    tells by the write end what a pipe holds: elsewhere all are rung. A door without a subscriber has no reader.
    """
    has_reader = False
    for path in paths:
        state = _ping(path, True, only_idle=_CAN_SEE_RINGS)
        has_reader = has_reader or (state is not None and not is_unattended(path))
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


def is_door(path: str) -> bool:
    """Whether the path is a door's, see Doors."""
    return path.rpartition("/")[2].startswith(DOOR_PREFIX)


def is_unattended(path: str) -> bool:
    """Whether the path is a door's behind which no subscriber waits."""
    return path.endswith(UNATTENDED_SUFFIX)


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


def make_own_folder(path: str) -> bool:
    """Make a folder that only this user can read, unless it exists; return whether it is new.

    Raises PermissionError as `check_own_folder` does, and another OSError if it cannot be made.
    """
    try:
        os.mkdir(path, 0o700)
        is_new = True
    except FileExistsError:
        is_new = False
    check_own_folder(path)
    return is_new


def touch(path: str) -> None:
    """Set the modification time of a folder to now, if it is there; a symlink is not followed."""
    with suppress(OSError):
        os.utime(path, follow_symlinks=False)


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


class Doorbell:
    """One subscriber's doorbell: wait on `fileno()`, then `drain()` it, then query the store."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = ""
        self._identity = (-1, -1)  # its device and inode
        self._pid = os.getpid()
        self._reader = self._writer = -1
        self._opened: list[int] = []
        self._is_awaited = self._is_closing = False
        self._create()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable at a ring."""
        return self._reader

    def wait(self, timeout_s: float, *, drains: bool = True) -> bool:
        """Block until a ring or the timeout; drain the doorbell, unless told otherwise, and return whether it rang.

        It blocks in slices, because a handler can run only between them: a signal that another thread receives, or that
        comes just before the wait, interrupts no slice.
        """
        deadline = time.monotonic() + timeout_s
        self._is_awaited = True
        try:
            while self._reader >= 0:
                if self._poller.poll(1000 * max(0.0, min(SIGNAL_SLICE_S, deadline - time.monotonic()))):
                    if drains:
                        self.drain()
                    return True
                if time.monotonic() >= deadline:
                    break
        finally:
            self._is_awaited = False
            if self._is_closing:
                self._close_descriptors()
        return False

    async def wait_async(self, timeout_s: float, *, drains: bool = True) -> bool:
        """Wait as `wait` does, without blocking the running event loop."""
        deadline = time.monotonic() + timeout_s
        self._is_awaited = True
        try:
            while self._reader >= 0 and (remaining_s := deadline - time.monotonic()) > 0:
                await _readable(self._reader, min(remaining_s, SIGNAL_SLICE_S))
                if self._poller.poll(0):
                    if drains:
                        self.drain()
                    return True
        finally:
            self._is_awaited = False
            if self._is_closing:
                self._close_descriptors()
        return False

    def mark(self) -> bool:
        """Put a ring of its own into the pipe, so that senders ring others; returns whether a ring was there before."""
        self._is_awaited = True  # no other thread closes the descriptors now
        try:
            if self._reader < 0:
                return False
            was_rung = holds_ring(self._reader)
            if not was_rung:
                os.write(self._writer, b"!")
            return was_rung
        except OSError:
            return False
        finally:
            self._is_awaited = False
            if self._is_closing:
                self._close_descriptors()

    def drain(self) -> None:
        """Discard all rings so far."""
        with suppress(OSError):  # no ring is there, or another thread has closed it
            os.read(self._reader, _PIPE_SIZE)

    def exists(self) -> bool:
        """Whether the FIFO is still at its path and reachable for senders."""
        try:
            return is_own_folder(self._folder) and identity_at(self._path) == self._identity
        except OSError:
            return False

    def recreate(self) -> bool:
        """Create the FIFO again if it was removed or replaced, and return whether it was; OSError if that fails."""
        if self.exists():
            return False
        self.close()
        self._is_closing = False
        self._create()
        return True

    @property
    def path(self) -> str:
        """The path of the FIFO."""
        return self._path

    def close(self) -> bool:
        """Remove the FIFO and close it; returns whether it had a ring to answer: pass it on.

        Closing twice is allowed; a forked child's copy does nothing.

        A thread or a task that waits is woken, and closes the descriptors itself: a number that is closed under a
        waiter may belong to another file when the waiter uses it.
        """
        if self._reader < 0 or self._pid != os.getpid():
            return False
        was_rung = self.remove()
        self._is_closing = True  # before the check, as a waiter sets its own flag before it checks this one
        if self._is_awaited:
            with suppress(OSError):
                os.write(self._writer, b"!")
        else:
            self._close_descriptors()
        return was_rung

    def __del__(self) -> None:
        # Only after an interrupt of its creation, maybe before its first line: no thread waits at it.
        if getattr(self, "_opened", None) and self._pid == os.getpid():
            self.remove()
            self._close_descriptors()

    def remove(self) -> bool:
        """Remove the FIFO, and its folder if empty, and leave the descriptors open; returns the same as `close`."""
        if self._reader < 0 or self._pid != os.getpid():
            return False
        # Leave the file alone if another program has replaced the FIFO.
        with suppress(OSError):
            if identity_at(self._path) == self._identity:
                os.unlink(self._path)
        try:
            os.rmdir(self._folder)
        except OSError:  # others are there
            touch(os.path.dirname(self._folder))
        with suppress(OSError, ImportError):  # an interpreter that ends imports no more
            return holds_ring(self._reader)
        return False

    def _close_descriptors(self) -> None:
        self._reader = self._writer = -1
        while self._opened:
            fork_safety.close_descriptor(self._opened.pop())

    def _create(self) -> None:
        # Another subscriber may remove the empty folder meanwhile: create it again.
        for attempt in range(10):
            try:
                return self._create_once()
            except FileNotFoundError:
                if attempt == 9:
                    raise
        return None

    def _create_once(self) -> None:
        name = f"{os.getpid()}-{os.urandom(4).hex()}"
        temporary = os.path.join(self._folder, TEMPORARY_PREFIX + name)
        make_own_folder(os.path.dirname(self._folder))
        is_first = make_own_folder(self._folder)
        os.mkfifo(temporary, 0o600)
        try:
            # A write end of its own keeps the pipe from reporting a hang-up when a sender closes its end. C code
            # records each descriptor: an exception of a signal handler loses none.
            self._opened.extend(map(os.open, (temporary,) * 2, (os.O_RDONLY | FLAGS, os.O_WRONLY | FLAGS)))
            for descriptor in self._opened:
                fork_safety.close_on_fork(descriptor)
            self._reader, self._writer = self._opened
            self._identity = identity_at(temporary)
            # A program that only sends does not need these modules; later, a finalizer may need the last two.
            import fcntl  # noqa: F401
            import select
            import termios  # noqa: F401

            self._poller = select.poll()
            self._poller.register(self._reader, select.POLLIN)
            self._path = os.path.join(self._folder, name)
            os.rename(temporary, self._path)
            if not is_first:  # nothing changed in the folder above, see `Doorbells.bells_version`
                touch(os.path.dirname(self._folder))
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            for descriptor in self._opened:
                fork_safety.close_on_fork(descriptor)
            self._close_descriptors()
            raise


async def _readable(descriptor: int, timeout_s: float) -> None:
    """Wait until a descriptor is readable or the timeout is over."""
    import asyncio

    loop = asyncio.get_running_loop()
    notified: asyncio.Future[None] = loop.create_future()

    def notify() -> None:
        if not notified.done():
            notified.set_result(None)

    loop.add_reader(descriptor, notify)
    timer = loop.call_later(timeout_s, notify)
    try:
        await notified
    finally:
        timer.cancel()
        loop.remove_reader(descriptor)
