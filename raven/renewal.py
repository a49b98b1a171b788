"""Renewal: a thread that prolongs a lease for as long as this process lives."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

from raven.address import parse_address
from raven.errors import RavenError
from raven.identity import Identity
from raven.mailbox import Lease, Mailbox
from raven.store import Store

_TIMES_WITHIN_A_LEASE = 3


class Renewal:
    """Renews what is held under one lease, three times within its span, over a connection of its own.

    The loop that holds it may be busy for as long as it likes; when the process dies or is stopped, the lease ends.
    """

    def __init__(self, store: Store, address: str, lease: Lease) -> None:
        self._store = store
        self._address = address
        self._lease = lease
        self._stop = threading.Event()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="raven-renewal", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Renew no more."""
        self._stop.set()

    def _run(self) -> None:
        # Signals are the main thread's.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        store: Store | None = None
        try:
            while not self._stop.wait(self._lease.span_s / _TIMES_WITHIN_A_LEASE):
                # What fails once, for another writer or a full disk, may work the next time.
                with suppress(RavenError):
                    store = store or self._store.sibling()
                    store.verify()
                    identity = Identity(store, parse_address(self._address), registers=False)
                    Mailbox(store, identity, lambda _: None).renew(self._lease)
        finally:
            if store is not None:
                store.close()
