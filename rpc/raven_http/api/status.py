"""Status: the one table from the kind of an error to the status of its answer, and the JSON of an error."""

from __future__ import annotations

from typing import Any, NamedTuple

from raven.errors import InputError, LimitError
from raven_http.guard.refusal import KINDS, error_line
from raven_rpc.jsonrpc import errors

# By the kinds of raven_rpc.jsonrpc.errors, of the routes, and of HTTP itself.
STATUSES: dict[str, int] = {
    "raven": 500,
    "invalid_params": 422,
    "address": 422,
    "body": 422,
    "schema_validation": 422,
    "config": 500,
    "not_found": 404,
    "message_not_found": 404,
    "unknown_address": 404,
    "statement": 422,
    "delivery": 409,
    "lease_lost": 409,
    "expired": 409,
    "undelivered": 409,
    "timeout": 504,
    "closed": 503,
    "database": 500,
    "file_missing": 503,
    "not_a_bus": 500,
    "newer_schema": 500,
    "network_filesystem": 500,
    "disk_full": 507,
    "read_only": 500,
    "corrupt": 500,
    "helper": 500,
    "limit": 422,
    "unreachable": 503,
    "lost": 500,
    "bind": 500,
    "parse_error": 400,
    "not_a_route": 404,
    "method_not_allowed": 405,
    **{kind: status for status, kind in KINDS.items()},
}
_OF_INPUT = 422
_OVER_LIMIT_NOW = 429
# In seconds: after this time the same request may succeed.
_RETRY_AFTER = ("retry-after", "1")
_WAITING = frozenset({429, 503, 507})


class BadRequestError(InputError):
    """A path, a query or a body cannot be read at all; `kind` is the kind of the refusal."""

    def __init__(self, reason: str, kind: str = "bad_request") -> None:
        super().__init__(reason)
        self.kind = kind


class Answer(NamedTuple):
    """One answer: its status, its JSON text with a newline at the end, and the headers that only it has."""

    status: int
    text: bytes
    headers: tuple[tuple[str, str], ...] = ()


def refusal(kind: str, detail: str, headers: tuple[tuple[str, str], ...] = (), **more: Any) -> Answer:
    """Return the answer to a request that was not done; `kind` is one of STATUSES."""
    return Answer(STATUSES[kind], error_line(kind, detail, **more), headers)


def of_error(error: BaseException, *, is_write: bool, id: Any = None) -> Answer:
    """Return the answer for an exception; an unforeseen one, and one that could reveal a path, shows no details.

    Input is a bad request if it stands in the path or the query (400), and else unprocessable content (422).
    """
    if isinstance(error, BadRequestError):
        return refusal(error.kind, str(error))
    wire = errors.to_wire(error)
    data = wire["data"]
    kind, detail = data["kind"], data.get("reason", wire["message"])
    status = STATUSES[kind]
    more: dict[str, Any] = {"fields": data["fields"]} if "fields" in data else {}
    if status == _OF_INPUT and not is_write:
        status = 400
        kind = "limit" if isinstance(error, LimitError) else "bad_request"
    if isinstance(error, LimitError) and error.retryable:
        status = _OVER_LIMIT_NOW
    if kind == "message_not_found" and id is not None:
        more["id"] = id
    headers = (_RETRY_AFTER,) if status in _WAITING else ()
    return Answer(status, error_line(kind, detail, **more), headers)
