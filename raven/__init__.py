"""raven: a message bus for agent processes on one host, in one SQLite file.

`BusClient` sends and receives, `BusObserver` looks on, `SchemaRegistry` checks bodies; `raven.errors` draws the tree of
what they raise.
"""

from importlib import import_module

# Not that of `typing`, which takes ten times as long to import as all else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from raven.address import parse_address
    from raven.client import BusClient
    from raven.deadline import deadline_after, left_s
    from raven.draft import Draft, check_request, make_draft, make_drafts
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
    from raven.holdings import Holdings
    from raven.listener import Listener
    from raven.log import Log
    from raven.mailbox import check_lease
    from raven.message import AckMode, Message, Report, State, Urgency, check_id, check_max
    from raven.observer import BusObserver
    from raven.peers import Peer
    from raven.receipts import Receipt, Tracker
    from raven.request import Question
    from raven.retention import Pruned
    from raven.schemas import SchemaRegistry
    from raven.statistics import Stats
    from raven.subscription import Subscription

__version__ = "0.3.0"

__all__ = [
    "AckMode",
    "AddressError",
    "BindError",
    "BodyError",
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
    "AckMode": "raven.message",
    "BusClient": "raven.client",
    "BusObserver": "raven.observer",
    "Draft": "raven.draft",
    "Holdings": "raven.holdings",
    "Listener": "raven.listener",
    "Log": "raven.log",
    "Message": "raven.message",
    "Peer": "raven.peers",
    "Pruned": "raven.retention",
    "Question": "raven.request",
    "Receipt": "raven.receipts",
    "Report": "raven.message",
    "SchemaRegistry": "raven.schemas",
    "State": "raven.message",
    "Stats": "raven.statistics",
    "check_id": "raven.message",
    "check_lease": "raven.mailbox",
    "check_max": "raven.message",
    "left_s": "raven.deadline",
    "deadline_after": "raven.deadline",
    "check_request": "raven.draft",
    "make_draft": "raven.draft",
    "make_drafts": "raven.draft",
    "parse_address": "raven.address",
    "Subscription": "raven.subscription",
    "Tracker": "raven.receipts",
    "Urgency": "raven.message",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import raven` costs next to nothing (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'raven' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES.get(name, "raven.errors")), name)
    globals()[name] = value
    return value
