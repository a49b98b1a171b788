"""Handle: what each way of waiting stands on, the file with its doorbells and the watch on foreign writers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from raven.store.database import Store
    from raven.wake.doorbell import Doorbells
    from raven.wake.watcher import WalWatch


class Handle(NamedTuple):
    """One client's hold on a bus."""

    store: Store
    doorbells: Doorbells
    watch: WalWatch
