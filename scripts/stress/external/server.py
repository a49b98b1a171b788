"""Serve a bus until a line comes in: `python -m scripts.stress.external.server DB`; the socket is `DB.sock`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

from scripts.stress.external.traffic_process import SERVER_LEASE_S
from scripts.stress.short_leases import serve_with


def _end_at_a_line() -> None:
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    logging.getLogger("raven").setLevel(logging.ERROR)
    threading.Thread(target=_end_at_a_line, daemon=True).start()
    serve_with(SERVER_LEASE_S, sys.argv[1], f"{sys.argv[1]}.sock", ready=lambda _: print("ready", flush=True))
