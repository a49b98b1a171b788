"""Serve a bus until a line comes in: `python -m scripts.trials.foreign.server DB`; the socket is `DB.sock`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

from raven_rpc import serve
from raven_rpc.server import pushers

# What a helper that was killed held is ready again so soon.
_LEASE_S = 3.0


def _end_at_a_line() -> None:
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    logging.getLogger("raven").setLevel(logging.ERROR)
    threading.Thread(target=_end_at_a_line, daemon=True).start()
    pushers.LEASE_S, pushers._RENEW_S = _LEASE_S, _LEASE_S / 3
    serve(sys.argv[1], ready=lambda _: print("ready", flush=True))
