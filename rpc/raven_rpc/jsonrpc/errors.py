"""Error codes: the one table that maps raven's errors to JSON-RPC error objects and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from raven import errors
from raven.errors import RavenError, abbreviate
from raven_rpc.jsonrpc import messages


class ErrorCode(NamedTuple):
    """The code of an error, its `data.kind`, and a fixed text if the error's own text could reveal a path."""

    code: int
    kind: str
    text: str | None = None


# An error that is not listed uses the entry of its nearest listed base class.
ERROR_CODES: dict[type[RavenError], ErrorCode] = {
    errors.RavenError: ErrorCode(-32000, "raven", "the server could not do that: see its log"),
    errors.InputError: ErrorCode(messages.INVALID_PARAMS, "invalid_params"),
    errors.AddressError: ErrorCode(messages.INVALID_PARAMS, "address"),
    errors.BodyError: ErrorCode(messages.INVALID_PARAMS, "body"),
    errors.SchemaValidationError: ErrorCode(-32003, "schema_validation"),
    errors.ConfigError: ErrorCode(-32004, "config", "the server's configuration is wrong: see its log"),
    errors.NotFoundError: ErrorCode(-32005, "not_found"),
    errors.MessageNotFoundError: ErrorCode(-32001, "message_not_found"),
    errors.UnknownAddressError: ErrorCode(-32002, "unknown_address"),
    errors.StatementError: ErrorCode(messages.INVALID_PARAMS, "statement"),
    errors.DeliveryError: ErrorCode(-32030, "delivery"),
    errors.LeaseLostError: ErrorCode(-32031, "lease_lost"),
    errors.ExpiredError: ErrorCode(-32032, "expired"),
    errors.UndeliveredError: ErrorCode(-32033, "undelivered"),
    errors.WaitTimeoutError: ErrorCode(-32034, "timeout"),
    errors.ClosedError: ErrorCode(-32006, "closed", "the server is stopping: try again with the next one"),
    errors.DatabaseError: ErrorCode(
        -32010, "database", "the bus could not be used: run `raven doctor` where its file is"
    ),
    errors.BusyError: ErrorCode(-32011, "busy", "the bus is locked by another writer: try again"),
    errors.FileMissingError: ErrorCode(
        -32012, "file_missing", "the bus file is gone: restore it, or restart the server"
    ),
    errors.NotABusError: ErrorCode(-32013, "not_a_bus", "the file is not a raven bus: choose another"),
    errors.NewerSchemaError: ErrorCode(-32014, "newer_schema", "the bus was made by a newer raven: update the server"),
    errors.NetworkFilesystemError: ErrorCode(-32015, "network_filesystem", "the bus lies on a network file system"),
    errors.DiskFullError: ErrorCode(-32016, "disk_full", "the bus cannot grow: free some space on its disk"),
    errors.ReadOnlyError: ErrorCode(-32017, "read_only", "the bus cannot be written: check its permissions"),
    errors.CorruptError: ErrorCode(-32018, "corrupt", "the bus is damaged: run `raven doctor`, and restore a backup"),
    errors.ServerError: ErrorCode(-32020, "helper"),  # older clients know this kind, and no other for it
    errors.ForbiddenError: ErrorCode(-32021, "forbidden"),
    errors.LimitError: ErrorCode(-32022, "limit"),
    errors.UnreachableError: ErrorCode(-32023, "unreachable"),
    errors.LostError: ErrorCode(-32024, "lost"),
    errors.BindError: ErrorCode(-32025, "bind", "the server cannot make its socket: see its log"),
}

# The errors of the specification: its words as `kind` and as the message.
STANDARD = {
    messages.PARSE_ERROR: ("parse_error", "Parse error"),
    messages.INVALID_REQUEST: ("invalid_request", "Invalid Request"),
    messages.METHOD_NOT_FOUND: ("method_not_found", "Method not found"),
    messages.INVALID_PARAMS: ("invalid_params", "Invalid params"),
    messages.INTERNAL_ERROR: ("internal_error", "Internal error"),
}
_CLASSES: dict[str, type[RavenError]] = {
    **{entry.kind: kind for kind, entry in ERROR_CODES.items()},
    **dict.fromkeys(("parse_error", "invalid_request", "method_not_found"), errors.InputError),
}


def to_wire(error: BaseException) -> dict[str, Any]:
    """Return the error object for an exception; for one that is not raven's, an internal error without details."""
    if not isinstance(error, RavenError):
        return standard(messages.INTERNAL_ERROR, "something unforeseen happened: see the server's log")
    entry = next(ERROR_CODES[kind] for kind in type(error).__mro__ if kind in ERROR_CODES)
    data: dict[str, Any] = {"kind": entry.kind, "retryable": error.retryable}
    if isinstance(error, errors.SchemaValidationError):
        data["fields"] = error.fields
    if error.call is not None:
        data["call"] = error.call
    return {"code": entry.code, "message": entry.text or str(error), "data": data}


def standard(code: int, reason: str) -> dict[str, Any]:
    """Return an error object of the JSON-RPC specification."""
    kind, message = STANDARD[code]
    return {"code": code, "message": message, "data": {"kind": kind, "retryable": False, "reason": reason}}


def from_wire(error: Any) -> RavenError:
    """Return the exception for an error object, of the class that its kind names, or a ServerError."""
    if not isinstance(error, dict):
        return errors.ServerError(f"the server answered with {abbreviate(error)}, which is not a JSON-RPC error")
    value = error.get("data")
    data: dict[str, Any] = value if isinstance(value, dict) else {}
    kind = _CLASSES.get(str(data.get("kind")), errors.ServerError)
    message = str(error.get("message"))
    if "reason" in data:
        message += f": {data['reason']}"
    exception = kind(message)
    if isinstance(exception, errors.SchemaValidationError):
        fields = data.get("fields")
        exception.fields = fields if isinstance(fields, dict) else {}
    exception.retryable = bool(data.get("retryable"))
    call = data.get("call")
    exception.call = call if isinstance(call, int) and not isinstance(call, bool) else None
    return exception
