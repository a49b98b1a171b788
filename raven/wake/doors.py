"""Doors: one FIFO with a name in the doorbell folders of many addresses, for a program that forwards their mail.

Each name is a hard link to the same FIFO. So a program with doors at 10,000 addresses has one descriptor to wait on,
and a send to any other address costs it nothing. ReceiptDoors hear of the receipts at some addresses in the same way.
"""

from __future__ import annotations

import builtins
import math
import os
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from raven.wake.doorbell import ALL_TRAFFIC, ANY_RECEIPT, DOORS, RECEIPT_DOORS
from raven.wake.fifo import DOOR_PREFIX, UNATTENDED_SUFFIX, identity_at, is_own_folder, make_own_folder, ping
from raven.wake.listener import Listener

if TYPE_CHECKING:
    from raven.wake.handle import Handle

# Refused doors are tried again after this time.
_RETRY_S = 30.0
_ATTEMPTS = 10
# One call makes and removes doors for about this time: a slow disk must not hold up an event loop.
_BUDGET_S = 0.05


class Doors(Listener):
    """A Listener at many addresses at once; `set` says which.

    A send to one of them rings the FIFO, unless a subscriber at that address has no ring to answer. A door is no
    subscriber: peers, statistics and `raven doctor` do not count it. The `waiting` of a sent message does if
    subscribers wait behind the door.

    If a door is refused (a file system without hard links to FIFOs, too many of them, an untrusted folder), every send
    rings the FIFO, as it rings the observers: `has_fallback` is then true. Refused doors are tried again every 30 s.

    Query the store after `set`: earlier mail rang no new door. While `is_behind`, doors still have to come or go: call
    `tick` again. Only one thread may use the doors.
    """

    _home = DOORS
    _without_doors = "every send wakes the relay instead"

    def __init__(self, handle: Handle) -> None:
        self._wanted: dict[str, bool] = {}
        self._doors: dict[str, tuple[int, int]] = {}  # their paths, and the device and inode of their FIFO
        self._refused: set[str] = set()
        self._retry_at = 0.0
        self._linked_to = self._name = ""
        self._identity = (-1, -1)
        self._link_count = 0
        self._is_behind = self._has_warned = False
        super().__init__(handle, self._home, watch=False)

    @property
    def has_fallback(self) -> bool:
        """Whether every send rings, because a door was refused."""
        return self._address == ALL_TRAFFIC

    @property
    def is_behind(self) -> bool:
        """Whether the last `set` or `tick` had no time to make and remove all doors."""
        return self._is_behind

    def set(self, waits: Mapping[str, bool]) -> bool:
        """Have doors at these addresses and at no others; returns whether the descriptor may be another one.

        The value tells whether subscribers wait behind the door. A door that comes or goes costs about 0.1 ms; the call
        ends after about 50 ms, and each `tick` goes on.
        """
        self._wanted = dict(waits)
        return self._fit()

    def tick(self) -> bool:
        """Create again the FIFO and the doors if they were removed; returns whether they were, as `set` does."""
        is_new = super().tick()
        return self._fit() or is_new

    def close(self, *, may_wait: bool = True) -> None:
        """Remove the doors and the FIFO. Closing twice is allowed; a forked child's copy does nothing."""
        if self._is_open and not self.is_inherited:
            self._remove(list(self._doors))
        super().close(may_wait=may_wait)

    def _fit(self) -> bool:
        """Have the wanted doors and no others; returns whether the FIFO, or all doors, had to be made again."""
        if not self._is_open or self.is_inherited:
            return False
        is_new = self._link()
        if bool(self._refused) == self.has_fallback or (self.has_fallback and self._is_behind):
            return is_new
        self._address = DOORS if self.has_fallback else ALL_TRAFFIC
        if self._doorbell is not None:
            self._doorbell.close()
            self._doorbell = None
        self._ensure_doorbell()
        self._link()
        return True

    def _link(self) -> bool:
        """Link the wanted doors to the FIFO, and remove the others; returns whether the earlier doors were lost."""
        is_new = self._linked_to != self._path() or self._count_links() != self._link_count
        if is_new:
            self._begin_anew()
        if not self._linked_to:
            return False
        paths = self._paths()
        if time.monotonic() >= self._retry_at:
            self._refused.clear()
            self._retry_at = time.monotonic() + _RETRY_S
        self._refused &= paths
        end = time.monotonic() + _BUDGET_S
        for path in paths - self._doors.keys() - self._refused:
            try:
                self._make(path)
                self._doors[path] = self._identity
            except FileNotFoundError:  # the whole folder was removed just now: the next tick makes all again
                break
            except OSError as error:
                self._refused.add(path)
                self._warn(error)
                with suppress(OSError):
                    if is_own_folder(os.path.dirname(path)):
                        os.rmdir(os.path.dirname(path))
            if time.monotonic() >= end:
                break
        # A door whose ending changes has two names for a moment, and is never missing.
        self._remove(list(self._doors.keys() - paths), end)
        self._is_behind = self._doors.keys() | self._refused != paths
        self._link_count = self._count_links()
        self._has_warned = self._has_warned and bool(self._refused)
        return is_new

    def _paths(self) -> builtins.set[str]:
        """Return the paths of the wanted doors."""
        folder_for, endings = self._doorbells.folder_for, (UNATTENDED_SUFFIX, "")
        return {f"{folder_for(address)}/{self._name}{endings[waits]}" for address, waits in self._wanted.items()}

    def _begin_anew(self) -> None:
        """Choose a new name for the doors, which is no other file's; those of the old name go as unwanted ones do."""
        self._refused.clear()
        self._name = f"{DOOR_PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
        self._linked_to = self._path()
        self._link_count = self._count_links()
        with suppress(OSError):
            self._identity = identity_at(self._linked_to)

    def _make(self, path: str) -> None:
        """Make one door; raises OSError."""
        # Another process may remove the empty folder meanwhile: make it again.
        for attempt in range(_ATTEMPTS):
            try:
                make_own_folder(os.path.dirname(path))
                os.link(self._linked_to, path)
                return
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise

    def _remove(self, paths: Iterable[str], end: float = math.inf) -> None:
        """Remove doors, and their folders if they are empty, up to a time; another file in a door's place stays."""
        for path in paths:
            identity = self._doors.pop(path)
            with suppress(OSError):
                if identity_at(path) == identity:
                    os.unlink(path)
            with suppress(OSError):
                os.rmdir(os.path.dirname(path))
            if time.monotonic() >= end:
                return

    def _count_links(self) -> int:
        """Return the number of names that the FIFO has: fewer than before if one was removed."""
        try:
            return os.fstat(self.fileno()).st_nlink
        except OSError:
            return 0

    def _warn(self, error: OSError) -> None:
        with suppress(OSError, ImportError):  # no descriptor is left for an import
            if not self._has_warned:
                import logging

                logging.getLogger("raven").warning(
                    "no door in %s (%s): %s; see `raven doctor`", self._doorbells.folder, error, self._without_doors
                )  # fmt: skip
                self._has_warned = True


class ReceiptDoors(Doors):
    """A Listener that rings when a delivery to one of some recipients changes; `hear` says which.

    A claim, an ack and the like ring only if their recipient has a door: the mail of the others costs nothing here. A
    lifetime that ends, a withdrawal and the like ring for all recipients, also without doors. If a door is refused,
    `has_fallback` is true: query the store more often then. All private reply addresses have one door.
    """

    _home = ANY_RECEIPT
    _without_doors = "the relay looks for receipts every 250 ms instead"

    @property
    def has_fallback(self) -> bool:
        """Whether a door was refused, so that some receipts do not ring."""
        return bool(self._refused)

    def hear(self, recipients: Collection[str]) -> bool:
        """Have doors for these recipients and for no others, as `set` does."""
        return self.set(dict.fromkeys(map(self._doorbells.receipt_door, recipients), True))

    def _fit(self) -> bool:
        return self._is_open and not self.is_inherited and self._link()

    def _paths(self) -> builtins.set[str]:
        return builtins.set(self._wanted)

    def _begin_anew(self) -> None:
        # The names are always the same, so that senders need not list the folder.
        self._remove(list(self._doors))
        self._doorbells.sweep_folder(self._doorbells.folder_for(RECEIPT_DOORS))
        super()._begin_anew()

    def _make(self, path: str) -> None:
        try:
            super()._make(path)
        except FileExistsError:
            # A relay that died has left it, as only one relay runs: a ping removes it.
            ping(path, ring=False)
            super()._make(path)
