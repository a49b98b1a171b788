"""Every error that raven raises, as one tree.

::

    RavenError
    ├── InputError (ValueError)         what was asked for is malformed; nothing was done
    │   ├── AddressError                an address, pattern or list of them
    │   ├── BodyError                   a body that is not JSON, or is over the limit
    │   ├── SchemaValidationError       a body that does not fit the model of its type
    │   └── StatementError              SQL of your own that SQLite or raven refuses
    ├── ConfigError (ValueError)        raven.yaml, an environment variable or a setting
    ├── NotFoundError (LookupError)
    │   ├── MessageNotFoundError        no such message, or none for this address
    │   └── UnknownAddressError         no such session or role is registered
    ├── DeliveryError                   what has become of a delivery does not allow that; nothing was done
    │   ├── LeaseLostError              its lease has ended: another has it, or it is finished
    │   ├── ExpiredError                its time has run out
    │   └── UndeliveredError            what was waited for will not come any more
    ├── WaitTimeoutError (TimeoutError) what was waited for did not come in time
    ├── ClosedError                     the client was closed
    ├── ServerError                     the socket server, or the way to it
    │   ├── BindError                   its socket cannot be made there
    │   ├── UnreachableError            nobody answers at the socket (retryable)
    │   ├── LostError                   the connection was lost: it may have been done, or not
    │   ├── ForbiddenError              this socket does not allow that
    │   └── LimitError                  more than the server takes
    └── DatabaseError                   the bus file; nothing was written
        ├── BusyError                   another writer held the lock for too long (retryable)
        ├── FileMissingError            no bus file there, or gone while in use
        ├── NotABusError                the file belongs to something else
        ├── NewerSchemaError            the file was made by a newer raven
        ├── NetworkFilesystemError      WAL does not work on that file system
        ├── DiskFullError               no room (retryable once there is)
        ├── ReadOnlyError               the file or its folder cannot be written
        └── CorruptError                SQLite found the file damaged

Each message says what is wrong, with the value, and what to do about it.
"""

from __future__ import annotations


class RavenError(Exception):
    """Base of all; `retryable` tells whether the same call may succeed later unchanged.

    `call` is the number of the call, from 0, that failed in a transaction over the socket; None for all other errors.
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
    """A body does not fit the model registered for its message type; `fields` names what is wrong.

    `fields` maps the dotted path of each offending field to the reason.
    """

    def __init__(self, message: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = fields or {}


class StatementError(InputError):
    """SQL of your own is malformed, breaks a constraint, or touches what is raven's; the statement did nothing."""


class ConfigError(RavenError, ValueError):
    """A setting in raven.yaml, in the environment or in an argument is wrong."""


class NotFoundError(RavenError, LookupError):
    """What was named does not exist."""


class MessageNotFoundError(NotFoundError):
    """There is no message of that id, or it was never addressed to this address."""


class UnknownAddressError(NotFoundError):
    """No identity of that session or role is registered where one is required."""


class DeliveryError(RavenError):
    """What has become of a delivery does not allow what was asked for; nothing was done."""


class LeaseLostError(DeliveryError):
    """The lease has ended: another consumer has the message now, or it is finished."""


class ExpiredError(DeliveryError):
    """The time of the message has run out: nobody waits for that any more."""


class UndeliveredError(DeliveryError):
    """A delivery has expired or died, so that the state that was waited for will not come."""


class WaitTimeoutError(RavenError, TimeoutError):
    """What was waited for did not come in time."""


class ClosedError(RavenError):
    """The client was closed and can no longer be used."""


class ServerError(RavenError):
    """The socket server could not do what was asked, or is not what was expected."""


class BindError(ServerError):
    """The server's socket cannot be made at its path."""


class UnreachableError(ServerError):
    """Nobody answers at the socket; nothing was done."""

    retryable = True


class LostError(ServerError):
    """The connection was lost before the answer came: what was asked may have been done, or not."""


class ForbiddenError(ServerError):
    """The socket is bound to other addresses, or closed to this user; nothing was done."""


class LimitError(ServerError):
    """A request, a batch or the number of connections is over a limit of the server; nothing was done."""


class DatabaseError(RavenError):
    """The bus file could not be used; nothing was written."""


class BusyError(DatabaseError):
    """Another writer held the lock for the whole busy timeout; nothing was written, try again."""

    retryable = True


class FileMissingError(DatabaseError):
    """There is no bus file at the path, or it was deleted or moved while in use."""


class NotABusError(DatabaseError):
    """The file at the path is not a raven bus."""


class NewerSchemaError(DatabaseError):
    """The file was written by a newer raven than this one."""


class NetworkFilesystemError(DatabaseError):
    """The file lies on a network file system, where SQLite's WAL does not work."""


class DiskFullError(DatabaseError):
    """There is no room left; nothing was written."""

    retryable = True


class ReadOnlyError(DatabaseError):
    """The file or its folder cannot be written by this user."""


class CorruptError(DatabaseError):
    """SQLite found the file damaged."""


def __getattr__(name: str) -> type[RavenError]:
    """Return an error by the name that it had up to version 0.3, with a DeprecationWarning."""
    if name == "HelperError":
        from raven.deprecation import resolve

        error: type[RavenError] = resolve(f"raven.errors.{name}", "raven.errors.ServerError")
        return error
    raise AttributeError(f"module 'raven.errors' has no attribute {name!r}")
