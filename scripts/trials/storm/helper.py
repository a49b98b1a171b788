"""Serve the bus as `raven serve` does, with leases of 3 s instead of 30, so that a storm sees them end."""

from __future__ import annotations

import signal

from raven_rpc import serve
from raven_rpc.server import pushers
from scripts.trials.storm.part import LEASE_S, Part, play


def run(part: Part) -> None:
    """Serve until the end."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pushers.LEASE_S = 3 * LEASE_S
    pushers._RENEW_S = LEASE_S
    serve(part.db, part.socket)


if __name__ == "__main__":
    play(run)
