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
from raven.model.address import is_private
from raven.wake.fifo import (
    DOOR_PREFIX,
    TEMPORARY_PREFIX,
    Doorbell,
    age_s,
    check_own_folder,
    identity_at,
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
# The pseudo-address of the doorbell that a relay waits at for receipts. The first message has the id 1.
ANY_RECEIPT = f"{ALL_TRAFFIC}0"
# The folder of this doorbell's doors, see ReceiptDoors.
RECEIPT_DOORS = f"{ANY_RECEIPT}doors"
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
# A ring costs less if it does not look each time whether a relay waits for receipts.
_UNHEARD_S = 1.0
# A list of all folders costs as much as some dozens of rings: it is made after so many rings without a change.
_LIST_AFTER = 64
# All private reply addresses have one door: most hear of one message only.
_PRIVATE_DOOR = "+:"


def receipt_address(message_id: int) -> str:
    """Return the pseudo-address of the doorbell for the receipts of a message."""
    return f"{ALL_TRAFFIC}{message_id}"


class Doorbells:
    """All doorbells of one bus, in the folder beside its file."""

    def __init__(self, db_path: str) -> None:
        self.folder = f"{db_path}-bells"
        self._listed: dict[str, tuple[tuple[int, int], list[str]]] = {}
        self._folders: dict[str, str] = {}
        self._receipt_doors: dict[str, str] = {}
        self._unheard_until = 0.0
        self._version, self._rings = (0, 0), 0
        self._known: frozenset[str] | None = None

    def ring(self, addresses: Iterable[str]) -> list[str]:
        """Wake a subscriber at each address, and return the addresses that have one. Never raises or blocks.

        Of several that compete for the mail of an address, one is rung that has no ring to answer. It rings the next
        one if it sees more mail, or cannot take the mail. A door is rung last, see Doors. Those that wait at a
        pseudo-address are all rung. A ring for the receipts of a message also rings the relay at ANY_RECEIPT, unless
        none was there less than a second ago.
        """
        waiting = []
        has_receipts = False
        for address in addresses:
            folder = self._folders.get(address)
            if folder is None:
                folder = self._folder_of(address)
                has_receipts = has_receipts or _is_receipts(address)
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
        if self._has_relay():
            self.ring_each(ANY_RECEIPT)

    def ring_receipts(self, recipient: str, receipts: Iterable[str]) -> None:
        """Wake all that wait at receipt addresses, because the deliveries to one recipient have changed; see `ring`.

        A relay is rung only if it has a door for that recipient, see ReceiptDoors: most receipts stay on this host.
        """
        names = self._names()
        for address in receipts:
            folder = f"{self.folder}/{address}"
            if os.access(folder, os.F_OK) if names is None else address in names:
                for path in self._doorbells_in(folder):
                    ping(path, ring=True)
        if RECEIPT_DOORS in names if names is not None else self._may_have_receipt_doors():
            door = self.receipt_door(recipient)
            if os.access(door, os.F_OK) and is_own_folder(self.folder) and is_own_folder(os.path.dirname(door)):
                ping(door, ring=True)

    def _may_have_receipt_doors(self) -> bool:
        return time.monotonic() >= self._unheard_until and self._has_relay()

    def _names(self) -> frozenset[str] | None:
        """Return the names of all folders if they have not changed for a while; else None.

        It saves looking for the folder of each message, which the kernel would look up in the file system: no
        subscriber ever waited for most of them.
        """
        try:
            # This check is cheaper than catching an error each time, on a bus without any subscriber.
            status = os.stat(self.folder) if self._rings or os.access(self.folder, os.F_OK) else None
        except OSError:
            status = None
        if status is None:
            self._rings = 0
            return frozenset()
        version = (status.st_ino, status.st_mtime_ns)
        if version != self._version:
            self._version, self._rings, self._known = version, 0, None
        if self._known is None:
            self._rings += 1
            # A second change within the file system's clock resolution would show the same time.
            if self._rings >= _LIST_AFTER and time.time_ns() - status.st_mtime_ns > _CLOCK_RESOLUTION_NS:
                with suppress(OSError):
                    self._known = frozenset(os.listdir(self.folder))
        return self._known

    def receipt_door(self, recipient: str) -> str:
        """Return the path of a relay's door for the receipts of the messages to one recipient, see ReceiptDoors."""
        path = self._receipt_doors.get(recipient)
        if path is None:
            private = is_private(recipient)
            name = folder_name(_PRIVATE_DOOR if private else recipient)
            path = f"{self.folder}/{RECEIPT_DOORS}/{DOOR_PREFIX}{name}"
            if not private:
                if len(self._receipt_doors) >= _MAX_FOLDERS:
                    self._receipt_doors.clear()
                self._receipt_doors[recipient] = path
        return path

    def _has_relay(self) -> bool:
        """Whether a relay waits for receipts; if none does, rings do not look again for a second."""
        has_relay = os.access(self._folder_of(ANY_RECEIPT), os.F_OK)
        if not has_relay:
            self._unheard_until = time.monotonic() + _UNHEARD_S
        return has_relay

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
        living_doors: set[tuple[int, int]] = set()
        for path in list_fifos(folder, temporaries=True) or []:
            if is_door(path):  # a relay's doors are one FIFO: one answers for all
                is_changed = not _lives(path, living_doors) or is_changed
            elif not os.path.basename(path).startswith(TEMPORARY_PREFIX):
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
        is_receipts = _is_receipts(address)
        is_name = is_receipts or address in (ALL_TRAFFIC, DOORS, RECEIPT_DOORS)
        folder = f"{self.folder}/{address if is_name else folder_name(address)}"
        # Receipt folders would only evict the others.
        if not is_receipts:
            if len(self._folders) >= _MAX_FOLDERS:
                self._folders.clear()
            self._folders[address] = folder
        return folder


def _is_receipts(address: str) -> bool:
    """Whether this is the pseudo-address of the receipts of a message."""
    return address.startswith(ALL_TRAFFIC) and address[1:].isdecimal()


def _lives(door: str, living: set[tuple[int, int]]) -> bool:
    """Whether a door has a reader; the FIFOs in `living` are known to have one. A door without a reader is removed."""
    with suppress(OSError):
        identity = identity_at(door)
        if identity in living:
            return True
        if ping(door, ring=False):
            living.add(identity)
            return True
    return False


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
