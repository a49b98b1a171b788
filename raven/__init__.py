"""raven: a message bus for agent processes on one host, in one SQLite file.

`BusClient` sends and receives messages. `BusObserver` reads the bus without an address. `SchemaRegistry` checks bodies.
`Bus` is the protocol that `BusClient` and the client of the socket share. `raven.errors` shows the tree of errors.
"""

from importlib import import_module

# Not `typing.TYPE_CHECKING`: importing `typing` takes ten times as long as the rest of this module.
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
        ServerError,
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
    "ServerError",
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

# Names that were public up to version 0.3, and the module and name by which each is imported now.
_MOVED = {
    "AckMode": "raven.model.message.AckMode",
    "Draft": "raven.model.new_message.NewMessage",
    "HelperError": "raven.errors.ServerError",
    "Holdings": "raven.model.leases.LeaseTracker",
    "Listener": "raven.wake.listener.Listener",
    "Log": "raven.query.log.LogCursor",
    "Question": "raven.receive.request.PendingRequest",
    "Subscription": "raven.receive.subscription.PullSubscription",
    "Tracker": "raven.query.receipts.ReceiptPoller",
    "check_id": "raven.model.limits.check_id",
    "check_lease": "raven.model.limits.check_lease",
    "check_max": "raven.model.limits.check_max",
    "check_request": "raven.model.new_message.check_request",
    "deadline_after": "raven.model.clock.deadline_after",
    "left_s": "raven.model.clock.remaining_s",
    "make_draft": "raven.model.new_message.build",
    "make_drafts": "raven.model.new_message.build_many",
    "parse_address": "raven.model.address.parse_address",
}


def __getattr__(name: str) -> object:
    """Import a public name at its first use, so that `import raven` takes almost no time (PEP 562)."""
    if name in _MOVED:
        import warnings

        warnings.warn(f"raven.{name} is deprecated: use {_MOVED[name]}", DeprecationWarning, stacklevel=2)
        module, _, new_name = _MOVED[name].rpartition(".")
        return getattr(import_module(module), new_name)
    if name not in __all__:
        raise AttributeError(f"module 'raven' has no attribute '{name}'")
    value: object = getattr(import_module(_HOMES.get(name, "raven.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
