"""Doorbells: named pipes by which a sender wakes exactly the addressees, and by which it is seen who is waiting.

A waiting subscriber holds the read end of a FIFO `<db>-bells/<address>/<pid>-<n>`. After its COMMIT a sender writes one
byte into each FIFO of each recipient, never blocking: no reader (`ENXIO`), a full pipe (`EAGAIN`: it is ringing
already) or something that is no FIFO is passed over. FIFO semantics: fifo(7), open(2).

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

from raven import forks

# The pseudo-address on whose doorbell observers listen; every send rings it.
OBSERVERS = "*"
# For at most so long a signal can wait for its handler while a subscriber waits for mail.
SIGNAL_SLICE_S = 1.0
_DRAFT_MARK = ".new-"
_DRAFT_LIFETIME_S = 60
_LONGEST_NAME = 200
_MAX_LISTED = 1024
_MAX_FOLDERS = 4096
_CLOCK_GRAIN_NS = 100_000_000
# What a pipe holds at most, so that one read takes all rings.
_PIPE_SIZE = 1 << 16
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:@+,=*-")


def receipt_bell(message_id: int) -> str:
    """Return the pseudo-address on whose doorbell those listen who wait for the receipts of a message."""
    return f"{OBSERVERS}{message_id}"


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
            if os.access(folder, os.F_OK) and sum([_touch(path, ring=True) for path in self._bells_in(folder)]):
                waiting.append(address)
        return waiting

    def ring_all(self) -> None:
        """Wake everyone who waits, at whatever address."""
        for folder in _list(self.folder):
            for path in _list_bells(folder):
                _touch(path, ring=True)

    def count_waiting(self, address: str) -> int:
        """Return how many subscribers wait at an address right now."""
        return sum(_touch(path, ring=False) for path in _list_bells(self._folder_of(address)))

    def sweep(self) -> None:
        """Remove the FIFOs of the dead and the folders left empty."""
        for folder in _list(self.folder):
            for name in _list_names(folder):
                path = os.path.join(folder, name)
                if not name.startswith(_DRAFT_MARK):
                    _touch(path, ring=False)
                elif _age_s(path) > _DRAFT_LIFETIME_S:
                    with suppress(OSError):
                        os.unlink(path)
            with suppress(OSError):
                os.rmdir(folder)

    def hang(self, address: str) -> Bell:
        """Make a doorbell at an address; raises OSError where FIFOs are not to be had."""
        return Bell(self._folder_of(address))

    def _bells_in(self, folder: str) -> list[str]:
        """List the FIFOs of a folder, anew only where it has changed since: a listing takes five system calls."""
        try:
            changed_at = os.stat(folder).st_mtime_ns
        except OSError:
            return []
        known = self._listed.get(folder)
        if known is not None and known[0] == changed_at:
            return known[1]
        bells = _list_bells(folder)
        if len(self._listed) >= _MAX_LISTED:
            self._listed.clear()
        # Two changes within one tick of the file system's clock look like one: what is so new is listed again.
        if time.time_ns() - changed_at > _CLOCK_GRAIN_NS:
            self._listed[folder] = (changed_at, bells)
        return bells

    def _folder_of(self, address: str) -> str:
        # Pseudo-addresses are file names as they are.
        folder = f"{self.folder}/{address if address.startswith(OBSERVERS) else _folder_name(address)}"
        # Those of receipts would only drive the others out.
        if not address.startswith(OBSERVERS) or address == OBSERVERS:
            if len(self._folders) >= _MAX_FOLDERS:
                self._folders.clear()
            self._folders[address] = folder
        return folder


class Bell:
    """One subscriber's doorbell: wait on `fileno()`, then `silence()` it, then look into the store."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = ""
        self._pid = os.getpid()
        self._reader = self._writer = -1
        self._hang()

    def fileno(self) -> int:
        """Return the descriptor that turns readable when someone rings."""
        return self._reader

    def wait(self, timeout_s: float) -> bool:
        """Block until someone rings or the time is over; returns whether it rang, and silences it.

        It blocks in slices: a signal that another thread receives, or that comes just before the wait, interrupts none
        of it, and its handler can only run in between.
        """
        give_up_at = time.monotonic() + timeout_s
        while not self._poller.poll(1000 * max(0.0, min(SIGNAL_SLICE_S, give_up_at - time.monotonic()))):
            if time.monotonic() >= give_up_at:
                return False
        self.silence()
        return True

    def silence(self) -> None:
        """Forget all rings so far."""
        with suppress(BlockingIOError):
            os.read(self._reader, _PIPE_SIZE)

    def hangs(self) -> bool:
        """Whether the FIFO is still in its place."""
        return os.access(self._path, os.F_OK)

    def rehang(self) -> None:
        """Make the FIFO anew if somebody removed it; raises OSError where that fails."""
        if not self.hangs():
            self.close()
            self._hang()

    def close(self) -> None:
        """Remove the FIFO, and its folder if that is empty now. Twice is fine; a forked child's copy does nothing."""
        if self._reader < 0 or self._pid != os.getpid():
            return
        reader, writer, self._reader, self._writer = self._reader, self._writer, -1, -1
        with suppress(OSError):
            os.unlink(self._path)
        forks.close_descriptor(reader)
        forks.close_descriptor(writer)
        with suppress(OSError):
            os.rmdir(self._folder)

    def _hang(self) -> None:
        # Another subscriber that leaves may remove the empty folder under our feet: make it again.
        for attempt in range(10):
            try:
                return self._hang_once()
            except FileNotFoundError:
                if attempt == 9:
                    raise
        return None

    def _hang_once(self) -> None:
        name = f"{os.getpid()}-{os.urandom(4).hex()}"
        draft = os.path.join(self._folder, _DRAFT_MARK + name)
        for folder in (os.path.dirname(self._folder), self._folder):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
        os.mkfifo(draft, 0o600)
        try:
            self._reader = forks.keep_descriptor(os.open(draft, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            # A writer of our own keeps the pipe from reporting a hang-up when a ringing sender closes it.
            self._writer = forks.keep_descriptor(os.open(draft, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            # Only who waits needs it.
            import select

            self._poller = select.poll()
            self._poller.register(self._reader, select.POLLIN)
            self._path = os.path.join(self._folder, name)
            os.rename(draft, self._path)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            forks.close_descriptor(self._reader)
            forks.close_descriptor(self._writer)
            self._reader = self._writer = -1
            raise


def _folder_name(address: str) -> str:
    """Return the file name that stands for an address; one too long for a file name is hashed."""
    if len(address) <= _LONGEST_NAME and _PLAIN.issuperset(address):
        return address
    from hashlib import sha256
    from urllib.parse import quote

    name = quote(address, safe=" :@+,=")
    return name if len(name) <= _LONGEST_NAME else sha256(address.encode()).hexdigest()


def _touch(path: str, ring: bool) -> bool:
    """Knock at one FIFO, and ring it if asked to; returns whether somebody is there. A dead one is removed."""
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
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


def _list_names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _list(folder: str) -> list[str]:
    return [os.path.join(folder, name) for name in _list_names(folder)]


def _list_bells(folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in _list_names(folder) if not name.startswith(_DRAFT_MARK)]


def _age_s(path: str) -> float:
    try:
        return time.time() - os.stat(path, follow_symlinks=False).st_mtime
    except OSError:
        return 0
