"""The HTTP bridge of raven: the bus for curl, browsers and any program with an HTTP client, and a page to watch it.

`serve` runs the server, and `create_app` makes a program for another ASGI server. Both need the extra:
`pip install 'raven-bus[http]'`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raven_http.app import create_app
    from raven_http.server.front import serve

__all__ = ["create_app", "serve"]

_HOMES = {"create_app": "raven_http.app", "serve": "raven_http.server.front"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'raven_http' has no attribute '{name}'")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
