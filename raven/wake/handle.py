"""Handle: what each way of waiting needs, the file with its doorbells and the watch on foreign writers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raven.store.database import Store
    from raven.wake.doorbell import Doorbells
    from raven.wake.watcher import WalWatcher


class Handle:
    """One client's hold on a bus; `on_idle` is what its watch calls between two looks.

    `watchers` holds that watch once something has waited, see Listener.
    """

    def __init__(self, store: Store, doorbells: Doorbells, on_idle: Callable[[Store], object]) -> None:
        self.store = store
        self.doorbells = doorbells
        self.on_idle = on_idle
        self.watchers: dict[str, WalWatcher] = {}
