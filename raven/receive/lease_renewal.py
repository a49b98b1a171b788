"""LeaseRenewer: a thread that prolongs a lease for as long as this process lives."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from raven.delivery.identity import Identity
from raven.delivery.mailbox import Lease, Mailbox
from raven.errors import RavenError
from raven.model.address import parse_address
from raven.model.leases import Window
from raven.store.database import Store

_TIMES_WITHIN_A_LEASE = 3


class LeaseRenewer:
    """Renews what is held under one lease, three times within its span, over a connection of its own.

    The loop that holds it may be busy for as long as it likes; when the process dies or is stopped, the lease ends.
    What it finds to be held no longer leaves the loop's `window`.
    """

    def __init__(
        self, store: Store, address: str, lease: Lease, window: Window, ring: Callable[[Iterable[str]], object]
    ) -> None:
        self._store = store
        self._address = address
        self._lease = lease
        self._window = window
        self._ring = ring
        self._stop = threading.Event()
        self._gives_back = False
        self._thread = threading.Thread(target=self._run, name="raven-lease-renewer", daemon=True)
        self._thread.start()

    def end(self, *, give_back: bool = False) -> None:
        """Renew no more; with `give_back` let the thread give back what is held, which it may have to wait for."""
        self._gives_back = give_back
        self._stop.set()

    def _run(self) -> None:
        # Signals are the main thread's.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        store: Store | None = None
        try:
            is_open = True
            while is_open:
                is_open = not self._stop.wait(self._lease.span_s / _TIMES_WITHIN_A_LEASE)
                # What fails once, for another writer or a full disk, may work the next time.
                with suppress(RavenError):
                    if is_open or self._gives_back:
                        store = store or self._store.new_connection()
                        self._renew_once(store, is_open)
        finally:
            if store is not None:
                store.close()

    def _renew_once(self, store: Store, is_open: bool) -> None:
        store.verify()
        mailbox = Mailbox(store, Identity(store, parse_address(self._address), registers=False), self._ring)
        if not is_open:
            mailbox.release(self._lease.token)
            return
        held = self._window.ids.copy()
        lost = held - mailbox.renew(self._lease)
        self._window.ids.difference_update(lost)
        if lost and self._window.has_waiter:
            self._ring([self._address])
