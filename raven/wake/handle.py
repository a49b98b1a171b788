"""Handle: what each way of waiting stands on, the file with its doorbells and the watch on foreign writers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raven.store.database import Store
    from raven.wake.doorbell import Doorbells
    from raven.wake.watcher import WalWatch


class Handle:
    """One client's hold on a bus; `on_idle` is what its watch calls between two looks."""

    def __init__(self, store: Store, doorbells: Doorbells, on_idle: Callable[[Store], object]) -> None:
        self.store = store
        self.doorbells = doorbells
        self._on_idle = on_idle
        self._watch: dict[str, WalWatch] = {}

    @property
    def watch(self) -> WalWatch:
        """The watch of this client, made when something waits for the first time: what only sends needs none."""
        if not self._watch:
            from raven.wake.watcher import WalWatch

            # Of two threads that come here at once, one has it.
            self._watch.setdefault("wal", WalWatch(self.store, self.doorbells, self._on_idle))
        return self._watch["wal"]
