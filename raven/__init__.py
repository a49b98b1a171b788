"""raven: a message bus for agent processes on one host, in one SQLite file.

`BusClient` sends and receives, `BusObserver` looks on, `SchemaRegistry` checks bodies; `Bus` is what a client of the
file and one of the socket have in common; `raven.errors` draws the tree of what they raise.
"""

from importlib import import_module

# Not that of `typing`, which takes ten times as long to import as all else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from raven.bus import Bus
    from raven.client import BusClient
    from raven.errors import (
        AddressError,
        BindError,
        BodyError,
        BusyError,
        ClosedError,
        ConfigError,
        CorruptError,
        DatabaseError,
        DeliveryError,
        DiskFullError,
        ExpiredError,
        FileMissingError,
        ForbiddenError,
        HelperError,
        InputError,
        LeaseLostError,
        LimitError,
        LostError,
        MessageNotFoundError,
        NetworkFilesystemError,
        NewerSchemaError,
        NotABusError,
        NotFoundError,
        RavenError,
        ReadOnlyError,
        SchemaValidationError,
        StatementError,
        UndeliveredError,
        UnknownAddressError,
        UnreachableError,
        WaitTimeoutError,
    )
    from raven.model.message import Message, Report, State, Urgency
    from raven.model.schemas import SchemaRegistry
    from raven.model.status import Peer, Pruned, Receipt, Stats
    from raven.model.version import __version__
    from raven.observer import BusObserver
    from raven.transaction import BusTransaction


__all__ = [
    "AddressError",
    "BindError",
    "BodyError",
    "Bus",
    "BusClient",
    "BusObserver",
    "BusTransaction",
    "BusyError",
    "ClosedError",
    "ConfigError",
    "CorruptError",
    "DatabaseError",
    "DeliveryError",
    "DiskFullError",
    "ExpiredError",
    "FileMissingError",
    "ForbiddenError",
    "HelperError",
    "InputError",
    "LeaseLostError",
    "LimitError",
    "LostError",
    "Message",
    "MessageNotFoundError",
    "NetworkFilesystemError",
    "NewerSchemaError",
    "NotABusError",
    "NotFoundError",
    "Peer",
    "Pruned",
    "RavenError",
    "ReadOnlyError",
    "Receipt",
    "Report",
    "SchemaRegistry",
    "SchemaValidationError",
    "State",
    "StatementError",
    "Stats",
    "UndeliveredError",
    "UnknownAddressError",
    "UnreachableError",
    "Urgency",
    "WaitTimeoutError",
    "__version__",
]

_HOMES = {
    "Bus": "raven.bus",
    "BusClient": "raven.client",
    "BusObserver": "raven.observer",
    "BusTransaction": "raven.transaction",
    "Message": "raven.model.message",
    "Peer": "raven.model.status",
    "Pruned": "raven.model.status",
    "Receipt": "raven.model.status",
    "Report": "raven.model.message",
    "SchemaRegistry": "raven.model.schemas",
    "State": "raven.model.message",
    "Stats": "raven.model.status",
    "Urgency": "raven.model.message",
    "__version__": "raven.model.version",
}

# These were public up to version 0.3; programs of users have no need of them, and each stands in its own module.
_MOVED = {
    "AckMode": "raven.model.message",
    "Draft": "raven.model.draft",
    "Holdings": "raven.model.leases",
    "Listener": "raven.wake.listener",
    "Log": "raven.query.log",
    "Question": "raven.receive.request",
    "Subscription": "raven.receive.subscription",
    "Tracker": "raven.query.receipts",
    "check_id": "raven.model.limits",
    "check_lease": "raven.model.limits",
    "check_max": "raven.model.limits",
    "check_request": "raven.model.draft",
    "deadline_after": "raven.model.clock",
    "left_s": "raven.model.clock",
    "make_draft": "raven.model.draft",
    "make_drafts": "raven.model.draft",
    "parse_address": "raven.model.address",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import raven` costs next to nothing (PEP 562)."""
    if name in _MOVED:
        import warnings

        warnings.warn(f"raven.{name} stands in {_MOVED[name]} now", DeprecationWarning, stacklevel=2)
        return getattr(import_module(_MOVED[name]), name)
    if name not in __all__:
        raise AttributeError(f"module 'raven' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES.get(name, "raven.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
