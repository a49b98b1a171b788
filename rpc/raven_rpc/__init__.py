"""The JSON-RPC server of raven: the bus over a Unix socket, for processes without Python or without the file.

`serve` runs the server (it needs the extra: `pip install 'raven-bus[rpc]'`), `Client` talks to one from Python.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raven_rpc.client.client import Client
    from raven_rpc.server.server import Server, serve

__all__ = ["Client", "Server", "serve"]

_HOMES = {"Client": "raven_rpc.client.client", "Server": "raven_rpc.server.server", "serve": "raven_rpc.server.server"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: a client needs nothing of the server (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'raven_rpc' has no attribute '{name}'")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
