"""Doorbells: named pipes by which a sender wakes exactly the addressees, and which show the waiting subscribers.

A waiting subscriber holds the read end of a FIFO `<db>-bells/<address>/<pid>-<n>`. After its COMMIT a sender writes one
byte into each FIFO of each recipient. It never blocks: it skips a FIFO without a reader (`ENXIO`) and a full pipe
(`EAGAIN`: a ring is already pending). It does not open other file types: opening and closing a symlink to the database
would drop this process's locks on it. FIFO semantics: fifo(7), open(2).

Concurrent users of a folder here: senders that list it; subscribers that add and remove their FIFOs; a dead subscriber
that left its FIFO; a program that deletes the whole folder. A FIFO gets its name only once its read end is open, so a
named FIFO without a reader always belongs to a dead subscriber.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress

from raven.files.ownership import counts, open_lock
from raven.store import fork_safety
from raven.wake.fifo import (
    FLAGS,
    TEMPORARY_PREFIX,
    age_s,
    check_own_folder,
    holds_ring,
    identity_at,
    is_own_folder,
    list_fifos,
    list_own_folders,
    ping,
    ring_one,
)
from raven.wake.folder_name import folder_name

# The pseudo-address of the doorbell on which observers listen; every send rings it.
ALL_TRAFFIC = "*"
# The longest time that a signal's handler is delayed while a subscriber waits for mail.
SIGNAL_SLICE_S = 1.0
# Creating a doorbell takes less than a millisecond.
_TEMPORARY_LIFETIME_S = 5
_MAX_LISTED = 1024
_MAX_FOLDERS = 4096
_CLOCK_RESOLUTION_NS = 100_000_000
# The most that a pipe holds, so that one read drains all rings.
_PIPE_SIZE = 1 << 16


def receipt_address(message_id: int) -> str:
    """Return the pseudo-address of the doorbell for the receipts of a message."""
    return f"{ALL_TRAFFIC}{message_id}"


class Doorbells:
    """All doorbells of one bus, in the folder beside its file."""

    def __init__(self, db_path: str) -> None:
        self.folder = f"{db_path}-bells"
        self._listed: dict[str, tuple[tuple[int, int], list[str]]] = {}
        self._folders: dict[str, str] = {}

    def ring(self, addresses: Iterable[str]) -> list[str]:
        """Wake a subscriber at each address, and return the addresses that have one. Never raises or blocks.

        Of several that compete for the mail of an address, one is rung that has no ring to answer. It rings the next
        one if it sees more mail, or cannot take the mail. Those that wait at a pseudo-address are all rung.
        """
        waiting = []
        for address in addresses:
            folder = self._folders.get(address) or self._folder_of(address)
            # Mostly no subscriber waits: this check is cheaper than catching the error of a listing.
            if os.access(folder, os.F_OK):
                paths = self._doorbells_in(folder)
                is_pool = len(paths) > 1 and not address.startswith(ALL_TRAFFIC)
                if ring_one(paths) if is_pool else sum([ping(path, ring=True) for path in paths]):
                    waiting.append(address)
        return waiting

    def ring_each(self, address: str) -> None:
        """Wake every subscriber at one address."""
        for path in self._doorbells_in(self._folder_of(address)):
            ping(path, ring=True)

    def ring_next(self, address: str, own: str, *, forward: bool = False) -> None:
        """Wake another subscriber at an address than the one with the doorbell at the path `own`.

        With `forward`, only one after it in the order of the paths: several that cannot take the mail then ring each
        other once at most.
        """
        if not address.startswith(ALL_TRAFFIC):
            paths = self._doorbells_in(self._folder_of(address))
            ring_one([path for path in paths if (path > own if forward else path != own)])

    def has_others(self, address: str, own: str) -> bool:
        """Whether another doorbell than the one at the path `own` is at an address."""
        return any(path != own for path in self._doorbells_in(self._folder_of(address)))

    def version(self, address: str) -> int:
        """Return a number that changes when a subscriber comes to an address or leaves it; 0 if none is there."""
        try:
            return os.stat(self._folder_of(address), follow_symlinks=False).st_mtime_ns
        except OSError:
            return 0

    def ring_all(self) -> None:
        """Wake every subscriber, at all addresses."""
        for folder in self.folders():
            for path in list_fifos(folder) or []:
                ping(path, ring=True)

    def count_waiting(self, address: str) -> int:
        """Return the number of subscribers that wait at an address now."""
        folder = self._folder_of(address)
        if not is_own_folder(self.folder) or not is_own_folder(folder):
            return 0
        return sum(ping(path, ring=False) for path in list_fifos(folder) or [])

    def is_awaited(self, message_id: int) -> bool:
        """Whether a program waits for the receipts of a message now."""
        return self.count_waiting(receipt_address(message_id)) > 0

    def sweep(self) -> None:
        """Remove the FIFOs of dead subscribers, and empty folders."""
        for folder in self.folders():
            self.sweep_folder(folder)

    def sweep_folder(self, folder: str) -> None:
        """Remove the FIFOs of dead subscribers from one folder, half-made ones after 5 s; then the folder if empty."""
        for path in list_fifos(folder, temporaries=True) or []:
            if not os.path.basename(path).startswith(TEMPORARY_PREFIX):
                ping(path, ring=False)
            # A negative age: the clock was set back. A creator that has lost its file makes another.
            elif not 0 <= age_s(path) <= _TEMPORARY_LIFETIME_S:
                with suppress(OSError):
                    os.unlink(path)
        with suppress(OSError):
            os.rmdir(folder)

    def folder_for(self, address: str) -> str:
        """Return the folder of an address's doorbells."""
        return self._folder_of(address)

    def create(self, address: str) -> Doorbell:
        """Create a doorbell at an address; raises OSError if FIFOs are unavailable."""
        return Doorbell(self._folder_of(address))

    def open_lock(self, name: str, opened: list[int] | None = None) -> int:
        """Open a lock file in the folder, as `ownership.open_lock` does; OSError also if others could hold the lock."""
        check_own_folder(self.folder)
        return open_lock(os.path.join(self.folder, name), opened=opened)

    def folders(self) -> list[str]:
        """Return the folders of all addresses. Symlinks and folders of other users are skipped."""
        return list_own_folders(self.folder)

    def _doorbells_in(self, folder: str) -> list[str]:
        """List the FIFOs of a folder, again only if it has changed: a listing takes five system calls."""
        try:
            status = os.stat(folder, follow_symlinks=False)
        except OSError:
            return []
        if not counts(status, stat.S_IFDIR):
            return []
        version = (status.st_ino, status.st_mtime_ns)
        known = self._listed.get(folder)
        if known is not None and known[0] == version:
            return known[1]
        paths = list_fifos(folder) if is_own_folder(self.folder) else []
        if paths is None:  # out of descriptors, for instance: the next ring lists the folder
            return []
        paths.sort()
        if len(self._listed) >= _MAX_LISTED:
            self._listed.clear()
        # Two changes within the file system's clock resolution look like one: list so new a folder again.
        if time.time_ns() - status.st_mtime_ns > _CLOCK_RESOLUTION_NS:
            self._listed[folder] = (version, paths)
        return paths

    def _folder_of(self, address: str) -> str:
        # Pseudo-addresses are file names as they are.
        is_receipts = address.startswith(ALL_TRAFFIC) and address[1:].isdecimal()
        folder = f"{self.folder}/{address if is_receipts or address == ALL_TRAFFIC else folder_name(address)}"
        # Receipt folders would only evict the others.
        if not is_receipts:
            if len(self._folders) >= _MAX_FOLDERS:
                self._folders.clear()
            self._folders[address] = folder
        return folder


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
        with suppress(OSError):
            os.rmdir(self._folder)
        with suppress(OSError):
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
        for folder in (os.path.dirname(self._folder), self._folder):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            check_own_folder(folder)
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
