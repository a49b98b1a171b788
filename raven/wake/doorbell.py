"""Doorbells: named pipes by which a sender wakes exactly the addressees, and by which it is seen who is waiting.

A waiting subscriber holds the read end of a FIFO `<db>-bells/<address>/<pid>-<n>`. After its COMMIT a sender writes one
byte into each FIFO of each recipient, never blocking: no reader (`ENXIO`), a full pipe (`EAGAIN`: it is ringing
already) or something that is no FIFO is passed over, unopened: a link to the database that somebody put here, opened
and closed, would drop this process's locks on it. FIFO semantics: fifo(7), open(2).

Who else can be in a folder here: senders that list it, other subscribers that add and remove theirs, a subscriber that
died and left its FIFO, and anyone who deletes the lot. A FIFO gets its name only once its read end is open, so a named
one without a reader is always a dead one.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress

from raven.store import fork_safety

# The pseudo-address on whose doorbell observers listen; every send rings it.
ALL_TRAFFIC = "*"
# For at most so long a signal can wait for its handler while a subscriber waits for mail.
SIGNAL_SLICE_S = 1.0
TEMPORARY_PREFIX = ".new-"
_TEMPORARY_LIFETIME_S = 60
_MAX_NAME = 200
_MAX_LISTED = 1024
_MAX_FOLDERS = 4096
_CLOCK_RESOLUTION_NS = 100_000_000
# What a pipe holds at most, so that one read takes all rings.
_PIPE_SIZE = 1 << 16
_IS_A_LINK = "it is a link, which is not followed"
_FLAGS = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
# No capitals: there are file systems that take them for small letters.
_UNESCAPED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.:@+,=-")


def receipt_address(message_id: int) -> str:
    """Return the pseudo-address on whose doorbell those listen who wait for the receipts of a message."""
    return f"{ALL_TRAFFIC}{message_id}"


class Doorbells:
    """All doorbells of one bus, in the folder beside its file."""

    def __init__(self, db_path: str) -> None:
        self.folder = f"{db_path}-bells"
        self._listed: dict[str, tuple[int, list[str]]] = {}
        self._folders: dict[str, str] = {}

    def ring(self, addresses: Iterable[str]) -> list[str]:
        """Wake whoever waits at these addresses, and return those where somebody does. Never raises, never blocks."""
        waiting = []
        for address in addresses:
            folder = self._folders.get(address) or self._folder_of(address)
            # Mostly nobody waits, and to ask first is cheaper than to catch what a listing raises.
            if os.access(folder, os.F_OK) and sum([_ping(path, ring=True) for path in self._doorbells_in(folder)]):
                waiting.append(address)
        return waiting

    def ring_all(self) -> None:
        """Wake everyone who waits, at whatever address."""
        for folder in self._list_folders():
            for path in _list_doorbells(folder) or []:
                _ping(path, ring=True)

    def count_waiting(self, address: str) -> int:
        """Return how many subscribers wait at an address right now."""
        folder = self._folder_of(address)
        return sum(_ping(path, ring=False) for path in (_list_doorbells(folder) or [] if _is_folder(folder) else []))

    def sweep(self) -> None:
        """Remove the FIFOs of the dead and the folders left empty."""
        for folder in self._list_folders():
            for path in _list_doorbells(folder, temporaries=True) or []:
                if not os.path.basename(path).startswith(TEMPORARY_PREFIX):
                    _ping(path, ring=False)
                elif _age_s(path) > _TEMPORARY_LIFETIME_S:
                    with suppress(OSError):
                        os.unlink(path)
            with suppress(OSError):
                os.rmdir(folder)

    def folder_for(self, address: str) -> str:
        """Return the folder in which the doorbells of an address hang."""
        return self._folder_of(address)

    def create(self, address: str) -> Doorbell:
        """Make a doorbell at an address; raises OSError where FIFOs are not to be had."""
        return Doorbell(self._folder_of(address))

    def open_lock(self, name: str) -> int:
        """Open a lock file among the doorbells, made where there is none; raises OSError, also where a link leads."""
        if os.path.islink(self.folder):
            raise NotADirectoryError(errno.ENOTDIR, _IS_A_LINK, self.folder)
        return os.open(os.path.join(self.folder, name), os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)

    def _list_folders(self) -> list[str]:
        """Return the folders of all addresses; none of a link's, which may lead to where nothing is raven's."""
        if not _is_folder(self.folder):
            return []
        with suppress(OSError), os.scandir(self.folder) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        return []

    def _doorbells_in(self, folder: str) -> list[str]:
        """List the FIFOs of a folder, anew only where it has changed since: a listing takes five system calls."""
        try:
            status = os.stat(folder, follow_symlinks=False)
        except OSError:
            return []
        changed_at = status.st_mtime_ns
        known = self._listed.get(folder)
        if known is not None and known[0] == changed_at:
            return known[1]
        paths = _list_doorbells(folder) if stat.S_ISDIR(status.st_mode) else []
        if paths is None:  # for want of descriptors, for instance: the next ring lists them
            return []
        if len(self._listed) >= _MAX_LISTED:
            self._listed.clear()
        # Two changes within one tick of the file system's clock look like one: what is so new is listed again.
        if time.time_ns() - changed_at > _CLOCK_RESOLUTION_NS:
            self._listed[folder] = (changed_at, paths)
        return paths

    def _folder_of(self, address: str) -> str:
        # Pseudo-addresses are file names as they are.
        is_receipts = address.startswith(ALL_TRAFFIC) and address[1:].isdecimal()
        folder = f"{self.folder}/{address if is_receipts or address == ALL_TRAFFIC else _folder_name(address)}"
        # Those of receipts would only drive the others out.
        if not is_receipts:
            if len(self._folders) >= _MAX_FOLDERS:
                self._folders.clear()
            self._folders[address] = folder
        return folder


class Doorbell:
    """One subscriber's doorbell: wait on `fileno()`, then `drain()` it, then look into the store."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = ""
        self._identity = (-1, -1)  # its device and inode
        self._pid = os.getpid()
        self._reader = self._writer = -1
        self._create()

    def fileno(self) -> int:
        """Return the descriptor that turns readable when someone rings."""
        return self._reader

    def wait(self, timeout_s: float) -> bool:
        """Block until someone rings or the time is over; returns whether it rang, and silences it.

        It blocks in slices: a signal that another thread receives, or that comes just before the wait, interrupts none
        of it, and its handler can only run in between.
        """
        deadline = time.monotonic() + timeout_s
        while not self._poller.poll(1000 * max(0.0, min(SIGNAL_SLICE_S, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return False
        self.drain()
        return True

    def drain(self) -> None:
        """Forget all rings so far."""
        with suppress(BlockingIOError):
            os.read(self._reader, _PIPE_SIZE)

    def exists(self) -> bool:
        """Whether the FIFO is still in its place, and senders reach it there."""
        try:
            return _is_folder(self._folder) and _identity_at(self._path) == self._identity
        except OSError:
            return False

    def recreate(self) -> None:
        """Make the FIFO anew if somebody removed it or replaced it; raises OSError where that fails."""
        if not self.exists():
            self.close()
            self._create()

    def close(self) -> None:
        """Remove the FIFO, and its folder if that is empty now. Twice is fine; a forked child's copy does nothing."""
        if self._reader < 0 or self._pid != os.getpid():
            return
        reader, writer, self._reader, self._writer = self._reader, self._writer, -1, -1
        # What somebody put in its place is not raven's to remove.
        with suppress(OSError):
            if _identity_at(self._path) == self._identity:
                os.unlink(self._path)
        fork_safety.close_descriptor(reader)
        fork_safety.close_descriptor(writer)
        with suppress(OSError):
            os.rmdir(self._folder)

    def _create(self) -> None:
        # Another subscriber that leaves may remove the empty folder under our feet: make it again.
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
        for folder in (os.path.dirname(self._folder), self._folder):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            if os.path.islink(folder):
                raise NotADirectoryError(errno.ENOTDIR, _IS_A_LINK, folder)
        os.mkfifo(temporary, 0o600)
        try:
            self._reader = fork_safety.close_on_fork(os.open(temporary, os.O_RDONLY | _FLAGS))
            # A writer of our own keeps the pipe from reporting a hang-up when a ringing sender closes it.
            self._writer = fork_safety.close_on_fork(os.open(temporary, os.O_WRONLY | _FLAGS))
            self._identity = _identity_at(temporary)
            # Only who waits needs it.
            import select

            self._poller = select.poll()
            self._poller.register(self._reader, select.POLLIN)
            self._path = os.path.join(self._folder, name)
            os.rename(temporary, self._path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            fork_safety.close_descriptor(self._reader)
            fork_safety.close_descriptor(self._writer)
            self._reader = self._writer = -1
            raise


def _folder_name(address: str) -> str:
    """Return the file name that stands for an address, and for no other on any file system.

    What is too long for one is hashed; and what is no address, as a foreign writer can store it: `..` for instance.
    """
    if len(address) <= _MAX_NAME and ":" in address:
        if _UNESCAPED.issuperset(address):
            return address
        name = "".join(
            char if char in _UNESCAPED else "".join(f"%{byte:02x}" for byte in char.encode()) for char in address
        )
        if len(name) <= _MAX_NAME:
            return name
    from hashlib import sha256

    return sha256(address.encode()).hexdigest()


def _ping(path: str, ring: bool) -> bool:
    """Knock at one FIFO, and ring it if asked to; returns whether somebody is there. A dead one is removed."""
    try:
        pipe = os.open(path, os.O_WRONLY | _FLAGS)
    except OSError as error:
        if error.errno == errno.ENXIO:
            with suppress(OSError):
                if stat.S_ISFIFO(os.stat(path, follow_symlinks=False).st_mode):
                    os.unlink(path)
        return False
    try:
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            return False
        if ring:
            os.write(pipe, b"!")
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(pipe)
    return True


def _list_doorbells(folder: str, *, temporaries: bool = False) -> list[str] | None:
    """List what may be FIFOs in a folder; None where it cannot be listed."""
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
    """Whether an entry is no file, folder or link: the listing tells, without a system call."""
    return not (entry.is_symlink() or entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False))


def _is_folder(path: str) -> bool:
    """Whether a folder is there, and no link to one."""
    try:
        return stat.S_ISDIR(os.stat(path, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _identity_at(path: str) -> tuple[int, int]:
    """Return the device and the inode of what stands at a path, itself."""
    status = os.stat(path, follow_symlinks=False)
    return status.st_dev, status.st_ino


def _age_s(path: str) -> float:
    try:
        return time.time() - os.stat(path, follow_symlinks=False).st_mtime
    except OSError:
        return 0
