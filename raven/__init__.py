"""raven: a message bus for agent processes on one host, in one SQLite file.

`BusClient` sends and receives, `BusObserver` looks on, `SchemaRegistry` checks bodies; `raven.errors` draws the tree of
what they raise.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raven.client import BusClient
    from raven.errors import (
        AddressError,
        BodyError,
        BusyError,
        ClosedError,
        ConfigError,
        CorruptError,
        DatabaseError,
        DiskFullError,
        FileMissingError,
        InputError,
        MessageNotFoundError,
        NetworkFilesystemError,
        NewerSchemaError,
        NotABusError,
        NotFoundError,
        RavenError,
        ReadOnlyError,
        SchemaValidationError,
        UnknownAddressError,
    )
    from raven.identity import Peer
    from raven.message import Message, State, Urgency
    from raven.observer import BusObserver
    from raven.schemas import SchemaRegistry

__version__ = "0.2.0"

__all__ = [
    "AddressError",
    "BodyError",
    "BusClient",
    "BusObserver",
    "BusyError",
    "ClosedError",
    "ConfigError",
    "CorruptError",
    "DatabaseError",
    "DiskFullError",
    "FileMissingError",
    "InputError",
    "Message",
    "MessageNotFoundError",
    "NetworkFilesystemError",
    "NewerSchemaError",
    "NotABusError",
    "NotFoundError",
    "Peer",
    "RavenError",
    "ReadOnlyError",
    "SchemaRegistry",
    "SchemaValidationError",
    "State",
    "UnknownAddressError",
    "Urgency",
    "__version__",
]

_HOMES = {
    "BusClient": "raven.client",
    "BusObserver": "raven.observer",
    "Message": "raven.message",
    "Peer": "raven.identity",
    "SchemaRegistry": "raven.schemas",
    "State": "raven.message",
    "Urgency": "raven.message",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import raven` costs next to nothing (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'raven' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES.get(name, "raven.errors")), name)
    globals()[name] = value
    return value
