"""raven: a message bus for agent processes on one host, in one SQLite file.

`BusClient` sends and receives, `BusObserver` looks on, `SchemaRegistry` checks bodies; `raven.errors` draws the tree of
what they raise.
"""

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
from raven.message import Message
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
    "UnknownAddressError",
    "__version__",
]
