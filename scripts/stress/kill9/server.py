"""Serve the bus as `raven serve` does, with leases of 3 s instead of 30, so that a storm sees them end."""

from __future__ import annotations

import signal

from scripts.stress.kill9.actor import LEASE_S, Part, play
from scripts.stress.short_leases import serve_with


def run(part: Part) -> None:
    """Serve until the end."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    serve_with(3 * LEASE_S, part.db, part.socket)


if __name__ == "__main__":
    play(run)
