"""Serve the bus as `raven serve` does, with leases of 3 s instead of 30 s, so that they expire within the trial."""

from __future__ import annotations

import signal

from scripts.stress.kill9.actor import LEASE_S, Actor, run_actor
from scripts.stress.short_leases import serve_with


def run(actor: Actor) -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    serve_with(3 * LEASE_S, actor.db, actor.socket)


if __name__ == "__main__":
    run_actor(run)
