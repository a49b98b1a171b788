"""Lease renewal: a thread renews a lease while its process runs."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress

from raven.delivery.identity import Identity
from raven.delivery.mailbox import Mailbox
from raven.delivery.queue_state import Lease
from raven.errors import RavenError
from raven.model.address import parse_address
from raven.model.leases import Window
from raven.store.database import Store
from raven.wake.doorbell import Doorbells
from raven.wake.stop import StopFlag

_RENEWALS_PER_LEASE = 3


class LeaseRenewer:
    """Renews all deliveries of one lease three times per lease period, over a connection of its own.

    The loop that holds the lease may work on one message for any time. If the process dies or is stopped, the lease
    ends. A delivery that has lost its lease is removed from the loop's `window`.
    """

    def __init__(self, store: Store, address: str, lease: Lease, window: Window, doorbells: Doorbells) -> None:
        self._store = store
        self._address = address
        self._lease = lease
        self._window = window
        self._doorbells = doorbells
        self._stop = StopFlag()
        self._releases = False
        self._thread = threading.Thread(target=self._run, name="raven-lease-renewer", daemon=True)
        self._thread.start()

    def stop(self, *, release: bool = False) -> None:
        """Stop renewing; with `release` the thread then releases the lease, and may wait for another writer first."""
        self._releases = release
        self._stop.set()

    def _run(self) -> None:
        # The main thread handles signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        store: Store | None = None
        try:
            is_open = True
            while is_open:
                is_open = not self._stop.wait(self._lease.span_s / _RENEWALS_PER_LEASE)
                # An error (another writer, a full disk) may be gone at the next attempt.
                with suppress(RavenError):
                    if is_open or self._releases:
                        store = store or self._store.new_connection()
                        self._renew_once(store, is_open)
        finally:
            if store is not None:
                store.close()

    def _renew_once(self, store: Store, is_open: bool) -> None:
        store.verify()
        mailbox = Mailbox(store, Identity(store, parse_address(self._address), registers=False), self._doorbells)
        if not is_open:
            mailbox.ended_leases.release(self._lease.token)
            return
        held = self._window.ids.copy()
        lost = held.difference(mailbox.renew(self._lease))
        self._window.ids.difference_update(lost)
        if lost:
            self._window.notify()
