"""Hosts: bus files with an exchange and clients each, on machines whose clocks differ, all in this process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from raven import DiskFullError
from raven.exchange import confirmations as module_of_confirmations
from raven.exchange.exchange import Exchange
from raven.host.bus import HostedBus
from raven.model import clock

_T = TypeVar("_T")
SECOND_US = 1_000_000
_SIDES = ("", "-wal", "-shm")
_MAX_PAGES = (1 << 32) - 2


class Clocks:
    """The server's clock, the clock of the host that acts now, and the monotonic clock of all; they move by `step`."""

    def __init__(self) -> None:
        self.server_us = 1_800_000_000 * SECOND_US
        self.skew_us = 0
        self.steady_s = 0.0

    def now(self) -> int:
        """Return the wall clock of the host that acts."""
        self.server_us += 1
        return self.server_us + self.skew_us

    def step(self, seconds: float) -> None:
        """Let time pass on all hosts."""
        self.server_us += round(seconds * SECOND_US)
        self.steady_s += seconds

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let raven read these clocks."""
        before = clock.now, module_of_confirmations.monotonic
        clock.now, module_of_confirmations.monotonic = self.now, lambda: self.steady_s
        try:
            yield
        finally:
            clock.now, module_of_confirmations.monotonic = before


class Killed(BaseException):
    """The end of a relay between two statements."""


class Host:
    """One host: its bus file, its relay's exchange, and clients of its addresses."""

    def __init__(self, clocks: Clocks, template: Path, folder: Path, name: str, skew_us: int) -> None:
        self.name = name
        self.db = str(folder / f"{name}.db")
        self.skew_us = skew_us
        self.full_disks = 0
        self._clocks = clocks
        self._clients: dict[str, HostedBus] = {}
        shutil.copyfile(template, self.db)
        self._open()

    @staticmethod
    def make_template(path: Path) -> Path:
        """Make an empty bus with the triggers of a link, of which each host gets a copy."""
        Exchange(str(path), "template").close()
        return path

    @property
    def exchange(self) -> Exchange:
        """The exchange of the relay; from now on the clock is this host's."""
        self._clocks.skew_us = self.skew_us
        return self._exchange

    def at(self, address: str) -> HostedBus:
        """Return the client of an address; from now on the clock is this host's."""
        self._clocks.skew_us = self.skew_us
        if address not in self._clients:
            first = next(iter(self._clients.values()), None)
            self._clients[address] = HostedBus.at(address, self.db) if first is None else first.for_address(address)
        return self._clients[address]

    def restart_relay(self) -> None:
        """Let the relay forget all but its file."""
        self._exchange.close()
        self._open_exchange()

    def relay(self, act: Callable[[Exchange], _T], killed_at: int | None = None) -> _T | None:
        """Call the exchange; the relay dies before its statement number `killed_at`, or after the last one.

        Returns None if it has died: then another relay is in its place.
        """
        exchange = self.exchange
        if killed_at is None:
            return act(exchange)
        left = killed_at

        def count(*_: Any) -> bool:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return True

        self._trace(count)
        try:
            act(exchange)
        except Killed:
            pass
        finally:
            self._trace(None)
            self.restart_relay()
        return None

    def with_full_disk(self, act: Callable[[Exchange], _T]) -> _T | None:
        """Call the exchange while its file cannot grow; returns None if it has no room."""
        exchange = self.exchange
        exchange._store.use(lambda connection: connection.pragma("max_page_count", 1))
        try:
            return act(exchange)
        except DiskFullError:
            self.full_disks += 1
            return None
        finally:
            exchange._store.use(lambda connection: connection.pragma("max_page_count", _MAX_PAGES))

    def save(self) -> None:
        """Copy the file as a backup does."""
        # Another library than raven's would drop the locks of this process when it closes the file.
        bus, copy = apsw.Connection(self.db), apsw.Connection(f"{self.db}.copy")
        with copy.backup("main", bus, "main") as backup:
            backup.step()
        copy.close()
        bus.close()

    def restore(self) -> None:
        """Put the last copy back, as an administrator does who has stopped all programs."""
        self.close()
        for side in _SIDES:
            if os.path.exists(self.db + side):
                os.unlink(self.db + side)
        shutil.copyfile(f"{self.db}.copy", self.db)
        self._open()

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement as a plain SQLite client does."""
        connection = apsw.Connection(self.db)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        """Close the exchange and all clients."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._exchange.close()

    def _open(self) -> None:
        self._open_exchange()

    def _open_exchange(self) -> None:
        self._clocks.skew_us = self.skew_us
        self._exchange = Exchange(self.db, self.name, durability="normal")
        self._exchange.offset_us = -self.skew_us

    def _trace(self, count: Callable[..., bool] | None) -> None:
        def install(connection: apsw.Connection) -> None:
            connection.exec_trace = count

        self._exchange._store.use(install)
