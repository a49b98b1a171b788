"""Short leases: `raven serve` within a process of a trial, so that the trial sees the leases of its pushers end."""

from __future__ import annotations

from collections.abc import Callable

from raven.host import pushers
from raven_rpc import serve


def serve_with(lease_s: float, db: str, path: str, ready: Callable[[str], object] | None = None) -> None:
    """Serve the bus until SIGTERM, with leases of `lease_s` instead of 30 s, renewed at each third of it."""
    pushers.LEASE_S, pushers._RENEW_S = lease_s, lease_s / 3
    serve(db, path, ready=ready)
