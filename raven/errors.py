"""Every error that raven raises, as one tree.

::

    RavenError
    ├── InputError (ValueError)         an argument is malformed; nothing was done.
    │   ├── AddressError                an address, pattern or list of them.
    │   ├── BodyError                   a body that is not JSON, or is over the limit.
    │   ├── SchemaValidationError       a body that does not fit the model of its type.
    │   └── StatementError              user SQL that SQLite or raven refuses.
    ├── ConfigError (ValueError)        raven.yaml, an environment variable or a setting.
    ├── NotFoundError (LookupError)     the named message or address does not exist.
    │   ├── MessageNotFoundError        no such message, or none for this address.
    │   └── UnknownAddressError         no such session or role is registered.
    ├── DeliveryError                   the state of the delivery forbids the call; nothing was done.
    │   ├── LeaseLostError              the lease has ended: another consumer has the message, or it is finished.
    │   ├── ExpiredError                the message has expired.
    │   └── UndeliveredError            a delivery has expired or died: the awaited state cannot be reached.
    ├── WaitTimeoutError (TimeoutError) the wait has timed out.
    ├── ClosedError                     the client was closed.
    ├── ServerError                     the JSON-RPC server, or the connection to it.
    │   ├── BindError                   the server cannot create its socket.
    │   ├── UnreachableError            no server listens on the socket; nothing was done (retryable).
    │   ├── LostError                   the connection was lost: the call may have been done, or not.
    │   ├── ForbiddenError              this socket does not allow the call; nothing was done.
    │   └── LimitError                  over a limit of the server; nothing was done.
    └── DatabaseError                   the bus file; nothing was written.
        ├── BusyError                   another writer held the lock for too long (retryable).
        ├── FileMissingError            no bus file there, or gone while in use.
        ├── NotABusError                the file belongs to another program.
        ├── NewerSchemaError            the file was made by a newer raven.
        ├── NetworkFilesystemError      WAL does not work on that file system.
        ├── DiskFullError               the disk is full (retryable after space is freed).
        ├── ReadOnlyError               the file or its folder cannot be written.
        └── CorruptError                SQLite found the file damaged.

Each message names the wrong value, shortened by `abbreviate`, and says what to do about it.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

_MAX_SHOWN = 60
_MAX_SHOWN_ITEMS = 3
_MAX_SHOWN_LEVELS = 2
_MAX_SHOWN_BITS = 8192


class RavenError(Exception):
    """Base of all errors of raven.

    `retryable` is True if the same call may succeed later, unchanged. `call` is the number of the call, from 0, that
    failed in a transaction over the socket; None for all other errors.
    """

    retryable = False
    call: int | None = None


class InputError(RavenError, ValueError):
    """An argument is malformed; nothing was done."""


class AddressError(InputError):
    """An address, a pattern or a list of them is malformed."""


class BodyError(InputError):
    """A body is not JSON, or is over the size or depth limit."""


class SchemaValidationError(InputError):
    """A body does not fit the pydantic model that is registered for its message type.

    `fields` maps the dotted path of each wrong field to the reason.
    """

    def __init__(self, message: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = fields or {}


class StatementError(InputError):
    """User SQL is malformed, breaks a constraint, or changes tables of raven; the statement did nothing."""


class ConfigError(RavenError, ValueError):
    """A setting in raven.yaml, in the environment or in an argument is wrong."""


class NotFoundError(RavenError, LookupError):
    """The named message or address does not exist."""


class MessageNotFoundError(NotFoundError):
    """No message has this id, or the message has no delivery to this address."""


class UnknownAddressError(NotFoundError):
    """No address of that session or role is registered."""


class DeliveryError(RavenError):
    """The state of a delivery forbids the call; nothing was done."""


class LeaseLostError(DeliveryError):
    """The lease has ended: another consumer has the message, or the message is finished."""


class ExpiredError(DeliveryError):
    """The message has expired: its sender no longer waits for it."""


class UndeliveredError(DeliveryError):
    """A delivery has expired or died: it cannot reach the awaited state any more."""


class WaitTimeoutError(RavenError, TimeoutError):
    """The wait has timed out, without a reply or without the awaited state."""


class ClosedError(RavenError):
    """The client was closed and can no longer be used."""


class ServerError(RavenError):
    """The JSON-RPC server failed, or the program at its socket is not a server of raven."""


class BindError(ServerError):
    """The server cannot create its socket at this path."""


class UnreachableError(ServerError):
    """No server listens on the socket; nothing was done."""

    retryable = True


class LostError(ServerError):
    """The connection was lost before the response arrived: the call may have been done, or not."""


class ForbiddenError(ServerError):
    """The socket is bound to other addresses, or refuses this user; nothing was done."""


class LimitError(ServerError):
    """A request, a batch or the number of connections exceeds a limit of the server; nothing was done."""


class DatabaseError(RavenError):
    """The bus file could not be used; nothing was written."""


class BusyError(DatabaseError):
    """Another writer held the lock for the whole busy timeout; nothing was written, try again."""

    retryable = True


class FileMissingError(DatabaseError):
    """No bus file is at the path, or the file was deleted or moved while in use."""


class NotABusError(DatabaseError):
    """The file at the path is not a raven bus."""


class NewerSchemaError(DatabaseError):
    """The file was written by a newer raven than this one."""


class NetworkFilesystemError(DatabaseError):
    """The file lies on a network file system, where SQLite's WAL does not work."""


class DiskFullError(DatabaseError):
    """The disk is full; nothing was written."""

    retryable = True


class ReadOnlyError(DatabaseError):
    """The file or its folder cannot be written by this user."""


class CorruptError(DatabaseError):
    """SQLite found the file damaged."""


def abbreviate(value: object) -> str:
    """Return a value for an error message, in at most 60 characters.

    A few items of it are visited, however large it is: a few lines of YAML or JSON can hold a value whose `repr` would
    fill the memory. So the `repr` of an object of another program is not called either.
    """
    text = _abbreviate(value, _MAX_SHOWN_LEVELS)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def _abbreviate(value: object, levels: int) -> str:
    kind = type(value)
    if isinstance(value, str | bytes | bytearray):
        return repr(value[: _MAX_SHOWN + 1])
    if isinstance(value, int):
        bits = value.bit_length()
        return repr(value) if bits <= _MAX_SHOWN_BITS else f"an integer of {bits} bits"
    if value is None or kind in (float, complex) or kind.__module__ == "datetime":
        return repr(value)
    if kind in (list, tuple, dict, set, frozenset):
        return _abbreviate_items(value, levels)
    if isinstance(value, BaseException):
        return f"{kind.__name__}({', '.join(_abbreviate(item, 0) for item in value.args[:_MAX_SHOWN_ITEMS])})"
    return f"<class {value.__name__}>" if isinstance(value, type) else f"<{kind.__name__}>"


def _abbreviate_items(values: Any, levels: int) -> str:
    start, end = "[]" if isinstance(values, list) else "()" if isinstance(values, tuple) else "{}"
    if not values:
        return start + end if start != "{" or isinstance(values, dict) else "set()"
    if not levels:
        return f"{start}...{end}"
    if isinstance(values, dict):
        some = [
            f"{_abbreviate(key, levels - 1)}: {_abbreviate(item, levels - 1)}"
            for key, item in islice(values.items(), _MAX_SHOWN_ITEMS)
        ]
    else:
        some = [_abbreviate(item, levels - 1) for item in islice(values, _MAX_SHOWN_ITEMS)]
    return f"{start}{', '.join(some)}{', ...' if len(values) > len(some) else ''}{end}"


def __getattr__(name: str) -> type[RavenError]:
    """Return an error by the name that it had up to version 0.3, with a DeprecationWarning."""
    if name == "HelperError":
        import warnings

        text = "raven.errors.HelperError is deprecated: use raven.errors.ServerError"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return ServerError
    raise AttributeError(f"module 'raven.errors' has no attribute '{name}'")
