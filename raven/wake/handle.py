"""Handle: the parts that every wait needs: the store, its doorbells and the WAL watcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raven.store.database import Store
    from raven.wake.doorbell import Doorbells
    from raven.wake.watcher import WalWatcher


class Handle:
    """One client's store, doorbells and WAL watcher; the watcher calls `on_idle` between two checks.

    `watchers` holds the WAL watcher after the client's first wait, see Listener.
    """

    def __init__(self, store: Store, doorbells: Doorbells, on_idle: Callable[[Store], object]) -> None:
        self.store = store
        self.doorbells = doorbells
        self.on_idle = on_idle
        self.watchers: dict[str, WalWatcher] = {}
