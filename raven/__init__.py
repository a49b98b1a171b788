"""raven: a message bus for agent processes on one host, in one SQLite file.

`BusClient` sends and receives, `BusObserver` looks on, `SchemaRegistry` checks bodies; `raven.errors` draws the tree of
what they raise.
"""

from importlib import import_module

from raven.model.version import __version__

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
    from raven.model.address import parse_address
    from raven.model.clock import deadline_after, left_s
    from raven.model.draft import Draft, check_request, make_draft, make_drafts
    from raven.model.leases import Holdings
    from raven.model.limits import check_id, check_lease, check_max
    from raven.model.message import AckMode, Message, Report, State, Urgency
    from raven.model.schemas import SchemaRegistry
    from raven.model.status import Peer, Pruned, Receipt, Stats
    from raven.observer import BusObserver
    from raven.query.log import Log
    from raven.query.receipts import Tracker
    from raven.receive.request import Question
    from raven.receive.subscription import Subscription
    from raven.wake.listener import Listener


__all__ = [
    "AckMode",
    "AddressError",
    "BindError",
    "BodyError",
    "Bus",
    "BusClient",
    "BusObserver",
    "BusyError",
    "ClosedError",
    "ConfigError",
    "CorruptError",
    "DatabaseError",
    "DeliveryError",
    "DiskFullError",
    "Draft",
    "ExpiredError",
    "FileMissingError",
    "ForbiddenError",
    "HelperError",
    "Holdings",
    "InputError",
    "LeaseLostError",
    "LimitError",
    "Listener",
    "Log",
    "LostError",
    "Message",
    "MessageNotFoundError",
    "NetworkFilesystemError",
    "NewerSchemaError",
    "NotABusError",
    "NotFoundError",
    "Peer",
    "Pruned",
    "Question",
    "RavenError",
    "ReadOnlyError",
    "Receipt",
    "Report",
    "SchemaRegistry",
    "SchemaValidationError",
    "State",
    "StatementError",
    "Stats",
    "Subscription",
    "Tracker",
    "UndeliveredError",
    "UnknownAddressError",
    "UnreachableError",
    "Urgency",
    "WaitTimeoutError",
    "__version__",
    "check_id",
    "check_lease",
    "check_max",
    "check_request",
    "deadline_after",
    "left_s",
    "make_draft",
    "make_drafts",
    "parse_address",
]

_HOMES = {
    "AckMode": "raven.model.message",
    "Bus": "raven.bus",
    "BusClient": "raven.client",
    "BusObserver": "raven.observer",
    "Draft": "raven.model.draft",
    "Holdings": "raven.model.leases",
    "Listener": "raven.wake.listener",
    "Log": "raven.query.log",
    "Message": "raven.model.message",
    "Peer": "raven.model.status",
    "Pruned": "raven.model.status",
    "Question": "raven.receive.request",
    "Receipt": "raven.model.status",
    "Report": "raven.model.message",
    "SchemaRegistry": "raven.model.schemas",
    "State": "raven.model.message",
    "Stats": "raven.model.status",
    "check_id": "raven.model.limits",
    "check_lease": "raven.model.limits",
    "check_max": "raven.model.limits",
    "left_s": "raven.model.clock",
    "deadline_after": "raven.model.clock",
    "check_request": "raven.model.draft",
    "make_draft": "raven.model.draft",
    "make_drafts": "raven.model.draft",
    "parse_address": "raven.model.address",
    "Subscription": "raven.receive.subscription",
    "Tracker": "raven.query.receipts",
    "Urgency": "raven.model.message",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import raven` costs next to nothing (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'raven' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES.get(name, "raven.errors")), name)
    globals()[name] = value
    return value
