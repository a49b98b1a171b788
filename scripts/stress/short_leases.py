"""Short leases: `raven serve` in a process of a trial, with leases that expire within the trial."""

from __future__ import annotations

from collections.abc import Callable

from raven.host import push
from raven_rpc import serve


def serve_with(lease_s: float, db: str, path: str, ready: Callable[[str], object] | None = None) -> None:
    """Serve the bus until SIGTERM, with push leases of `lease_s` instead of 30 s, renewed every `lease_s` / 3."""
    push.LEASE_S, push._RENEW_S = lease_s, lease_s / 3
    serve(db, path, ready=ready)
