"""Faults: the one table between raven's errors and the error objects on the wire, for both ways."""

from __future__ import annotations

from typing import Any, NamedTuple

from raven import errors
from raven.errors import RavenError
from raven_rpc.jsonrpc import messages as protocol


class Fault(NamedTuple):
    """How an error travels: its code, its `data.kind`, and a text in place of its own where that would tell a path."""

    code: int
    kind: str
    text: str | None = None


# An error travels as the nearest class above it that stands here.
FAULTS: dict[type[RavenError], Fault] = {
    errors.RavenError: Fault(-32000, "raven", "the server could not do that: see its log"),
    errors.InputError: Fault(protocol.INVALID_PARAMS, "invalid_params"),
    errors.AddressError: Fault(protocol.INVALID_PARAMS, "address"),
    errors.BodyError: Fault(protocol.INVALID_PARAMS, "body"),
    errors.SchemaValidationError: Fault(-32003, "schema_validation"),
    errors.ConfigError: Fault(-32004, "config", "the server's configuration is wrong: see its log"),
    errors.NotFoundError: Fault(-32005, "not_found"),
    errors.MessageNotFoundError: Fault(-32001, "message_not_found"),
    errors.UnknownAddressError: Fault(-32002, "unknown_address"),
    errors.StatementError: Fault(protocol.INVALID_PARAMS, "statement"),
    errors.DeliveryError: Fault(-32030, "delivery"),
    errors.LeaseLostError: Fault(-32031, "lease_lost"),
    errors.ExpiredError: Fault(-32032, "expired"),
    errors.UndeliveredError: Fault(-32033, "undelivered"),
    errors.WaitTimeoutError: Fault(-32034, "timeout"),
    errors.ClosedError: Fault(-32006, "closed", "the server is stopping: try again with the next one"),
    errors.DatabaseError: Fault(-32010, "database", "the bus could not be used: run `raven doctor` where its file is"),
    errors.BusyError: Fault(-32011, "busy", "the bus is locked by another writer: try again"),
    errors.FileMissingError: Fault(-32012, "file_missing", "the bus file is gone: restore it, or restart the server"),
    errors.NotABusError: Fault(-32013, "not_a_bus", "the bus file is something else: choose another"),
    errors.NewerSchemaError: Fault(-32014, "newer_schema", "the bus was made by a newer raven: update the server"),
    errors.NetworkFilesystemError: Fault(-32015, "network_filesystem", "the bus lies on a network file system"),
    errors.DiskFullError: Fault(-32016, "disk_full", "the bus cannot grow: free some room on its disk"),
    errors.ReadOnlyError: Fault(-32017, "read_only", "the bus cannot be written: check its permissions"),
    errors.CorruptError: Fault(-32018, "corrupt", "the bus is damaged: run `raven doctor`, and restore a backup"),
    errors.ServerError: Fault(-32020, "helper"),  # older clients know this kind, and no other for it
    errors.ForbiddenError: Fault(-32021, "forbidden"),
    errors.LimitError: Fault(-32022, "limit"),
    errors.UnreachableError: Fault(-32023, "unreachable"),
    errors.LostError: Fault(-32024, "lost"),
    errors.BindError: Fault(-32025, "bind", "the server cannot make its socket: see its log"),
}

# What the specification names itself: its own words, as `kind` and as the message.
STANDARD = {
    protocol.PARSE_ERROR: ("parse_error", "Parse error"),
    protocol.INVALID_REQUEST: ("invalid_request", "Invalid Request"),
    protocol.METHOD_NOT_FOUND: ("method_not_found", "Method not found"),
    protocol.INVALID_PARAMS: ("invalid_params", "Invalid params"),
    protocol.INTERNAL_ERROR: ("internal_error", "Internal error"),
}
_CLASSES: dict[str, type[RavenError]] = {
    **{fault.kind: kind for kind, fault in FAULTS.items()},
    **dict.fromkeys(("parse_error", "invalid_request", "method_not_found"), errors.InputError),
}


def to_wire(error: BaseException) -> dict[str, Any]:
    """Return the error object for an exception; of one that is not raven's, nothing is told but that it happened."""
    if not isinstance(error, RavenError):
        return standard(protocol.INTERNAL_ERROR, "something unforeseen happened: see the server's log")
    fault = next(FAULTS[kind] for kind in type(error).__mro__ if kind in FAULTS)
    data: dict[str, Any] = {"kind": fault.kind, "retryable": error.retryable}
    if isinstance(error, errors.SchemaValidationError):
        data["fields"] = error.fields
    if error.call is not None:
        data["call"] = error.call
    return {"code": fault.code, "message": fault.text or str(error), "data": data}


def standard(code: int, reason: str) -> dict[str, Any]:
    """Return an error object of the specification's own."""
    kind, message = STANDARD[code]
    return {"code": code, "message": message, "data": {"kind": kind, "retryable": False, "reason": reason}}


def from_wire(error: Any) -> RavenError:
    """Return the exception for an error object, of the class that the server raised where it is known."""
    if not isinstance(error, dict):
        return errors.ServerError(f"the server answered with {error!r}, which is no error of JSON-RPC")
    found_data = error.get("data")
    data: dict[str, Any] = found_data if isinstance(found_data, dict) else {}
    kind = _CLASSES.get(str(data.get("kind")), errors.ServerError)
    message = str(error.get("message"))
    if "reason" in data:
        message += f": {data['reason']}"
    found = kind(message)
    if isinstance(found, errors.SchemaValidationError):
        fields = data.get("fields")
        found.fields = fields if isinstance(fields, dict) else {}
    found.retryable = bool(data.get("retryable"))
    call = data.get("call")
    found.call = call if isinstance(call, int) and not isinstance(call, bool) else None
    return found
