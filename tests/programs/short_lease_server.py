"""Serve a bus with leases of a second for pushed messages: `short_lease_server.py DB SOCKET`."""

import sys

from scripts.stress.short_leases import serve_with

serve_with(1.0, *sys.argv[1:], ready=lambda path: print("ready", flush=True))
