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
from raven.wake.fifo import (
    TEMPORARY_PREFIX,
    Doorbell,
    age_s,
    check_own_folder,
    is_door,
    is_own_folder,
    is_unattended,
    list_fifos,
    list_own_folders,
    ping,
    ring_one,
    touch,
)

# The pseudo-address of the doorbell on which observers listen; every send rings it.
ALL_TRAFFIC = "*"
# The pseudo-address of the doorbell that the receipts of all messages ring. The first message has the id 1.
ANY_RECEIPT = f"{ALL_TRAFFIC}0"
# The pseudo-address of the FIFO that has doors at many addresses, see Doors.
DOORS = f"{ALL_TRAFFIC}doors"
# Creating a doorbell takes less than a millisecond.
_TEMPORARY_LIFETIME_S = 5
_MAX_NAME = 200
# No capitals: some file systems ignore case.
_UNESCAPED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.:@+,=-")
_MAX_LISTED = 1024
_MAX_FOLDERS = 4096
_CLOCK_RESOLUTION_NS = 100_000_000
# A ring costs less if it does not look each time whether a program listens to the receipts of all messages.
_UNHEARD_S = 1.0


def receipt_address(message_id: int) -> str:
    """Return the pseudo-address of the doorbell for the receipts of a message."""
    return f"{ALL_TRAFFIC}{message_id}"


class Doorbells:
    """All doorbells of one bus, in the folder beside its file."""

    def __init__(self, db_path: str) -> None:
        self.folder = f"{db_path}-bells"
        self._listed: dict[str, tuple[tuple[int, int], list[str]]] = {}
        self._folders: dict[str, str] = {}
        self._unheard_until = 0.0

    def ring(self, addresses: Iterable[str]) -> list[str]:
        """Wake a subscriber at each address, and return the addresses that have one. Never raises or blocks.

        Of several that compete for the mail of an address, one is rung that has no ring to answer. It rings the next
        one if it sees more mail, or cannot take the mail. A door is rung last, see Doors. Those that wait at a
        pseudo-address are all rung. A ring for the receipts of a message also rings for ANY_RECEIPT, unless no program
        listened there less than a second ago.
        """
        waiting = []
        has_receipts = False
        for address in addresses:
            folder = self._folders.get(address)
            if folder is None:
                folder = self._folder_of(address)
                has_receipts = has_receipts or address.startswith(ALL_TRAFFIC)
            # Mostly no subscriber waits: this check is cheaper than catching the error of a listing.
            if os.access(folder, os.F_OK):
                paths = self._doorbells_in(folder)
                is_pool = len(paths) > 1 and not address.startswith(ALL_TRAFFIC)
                if is_pool:
                    is_heard = ring_one(paths)
                else:
                    is_heard = sum([ping(path, ring=True) for path in paths]) > 0 and not is_unattended(paths[-1])
                if is_heard:
                    waiting.append(address)
        if has_receipts and time.monotonic() >= self._unheard_until:
            self._ring_any_receipt()
        return waiting

    def _ring_any_receipt(self) -> None:
        folder = self._folder_of(ANY_RECEIPT)
        if os.access(folder, os.F_OK):
            for path in self._doorbells_in(folder):
                ping(path, ring=True)
        else:
            self._unheard_until = time.monotonic() + _UNHEARD_S

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
        """Whether another doorbell than the one at the path `own` is at an address; doors do not count."""
        return any(path != own and not is_door(path) for path in self._doorbells_in(self._folder_of(address)))

    def version(self, address: str) -> int:
        """Return a number that changes when a subscriber comes to an address or leaves it; 0 if none is there."""
        try:
            return os.stat(self._folder_of(address), follow_symlinks=False).st_mtime_ns
        except OSError:
            return 0

    def bells_version(self) -> int:
        """Return a number that changes when a subscriber comes to any address or leaves it; 0 if none ever came.

        It may change without a reason. A subscriber that dies changes it once its doorbell is swept.
        """
        try:
            changed_at = os.stat(self.folder, follow_symlinks=False).st_mtime_ns
        except OSError:
            return 0
        # A second change within the file system's clock resolution would show the same time.
        now = time.time_ns()
        return now if 0 <= now - changed_at < _CLOCK_RESOLUTION_NS else changed_at

    def ring_all(self) -> None:
        """Wake every subscriber, at all addresses."""
        for folder in self.folders():
            for path in list_fifos(folder) or []:
                ping(path, ring=True)

    def count_waiting(self, address: str, *, doors: bool = True) -> int:
        """Return the number of subscribers that wait at an address now.

        A door counts as one if subscribers wait behind it on another host; with `doors=False` no door counts.
        """
        folder = self._folder_of(address)
        if not is_own_folder(self.folder) or not is_own_folder(folder):
            return 0
        paths = list_fifos(folder) or []
        return sum(ping(path, ring=False) for path in paths if not (is_unattended(path) if doors else is_door(path)))

    def is_awaited(self, message_id: int) -> bool:
        """Whether a program waits for the receipts of a message now."""
        return self.count_waiting(receipt_address(message_id)) > 0

    def sweep(self) -> None:
        """Remove the FIFOs of dead subscribers, and empty folders."""
        for folder in self.folders():
            self.sweep_folder(folder)

    def sweep_folder(self, folder: str) -> None:
        """Remove the FIFOs of dead subscribers from one folder, half-made ones after 5 s; then the folder if empty."""
        is_changed = False
        for path in list_fifos(folder, temporaries=True) or []:
            if not os.path.basename(path).startswith(TEMPORARY_PREFIX):
                is_changed = not ping(path, ring=False) or is_changed
            # A negative age: the clock was set back. A creator that has lost its file makes another.
            elif not 0 <= age_s(path) <= _TEMPORARY_LIFETIME_S:
                with suppress(OSError):
                    os.unlink(path)
        try:
            os.rmdir(folder)
        except OSError:
            if is_changed:
                touch(self.folder)

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
        is_name = is_receipts or address in (ALL_TRAFFIC, DOORS)
        folder = f"{self.folder}/{address if is_name else folder_name(address)}"
        # Receipt folders would only evict the others.
        if not is_receipts:
            if len(self._folders) >= _MAX_FOLDERS:
                self._folders.clear()
            self._folders[address] = folder
        return folder


def folder_name(address: str) -> str:
    """Return a file name for an address that no other address has, on any file system.

    Too long an address is hashed. So is an invalid one, which an external writer can store: `..`, for instance.
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
