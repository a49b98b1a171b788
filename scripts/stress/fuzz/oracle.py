"""Oracle: the responses owed for some bytes, by Python's own json, and the comparison with a server's output."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

# These requests may be answered later, and not if the client has ended.
WAITING = ("request", "wait_receipt")
# The depth limit of json's C scanner depends on its caller's stack: near the limit either result is right.
_SURELY_SHALLOW = 600
_HTTP = re.compile(rb"(?:GET|POST|PUT|HEAD|OPTIONS|DELETE|PATCH|CONNECT|TRACE|PRI) [^\s]+ HTTP/[0-9]")
_CODES = {-32700: "parse_error", -32600: "invalid_request", -32601: "method_not_found", -32022: "limit"}
# No input of a client may cause these: internal errors, and faults of the server or of the bus.
_FAULTS = frozenset({-32603, -32000, -32004, -32010, -32013, -32014, -32015, -32018, -32020, -32023, -32024, -32025})


class ViolationError(AssertionError):
    """The server, or a client of it, has broken the protocol; the message says how."""


class Owed(NamedTuple):
    """The owed responses by id and kind, as `_shown` writes them, and whether some may come later or are uncertain."""

    answers: Counter[str]
    waits: bool
    is_sure: bool


def owed(data: bytes, limit: int, methods: Collection[str]) -> Owed:
    """Return the responses owed to a client that writes these bytes and ends."""
    answers: Counter[str] = Counter()
    waits, is_sure = False, True
    for line in data.split(b"\n"):
        if len(line) > limit:
            answers[_shown(None, "limit")] += 1
            continue
        if not line.strip():
            continue
        is_sure = is_sure and _depth(line) < _SURELY_SHALLOW
        try:
            value = strict(line)
        except (ValueError, RecursionError):
            answers[_shown(None, "parse_error")] += 1
            if _HTTP.match(line):
                break
            continue
        parts = value if isinstance(value, list) else [value]
        waits = waits or any(isinstance(part, dict) and part.get("method") in WAITING for part in parts)
        if isinstance(value, list) and value:
            responses = [shown for part in value if (shown := _owed_for(part, methods)) is not None]
            if responses:
                answers["[" + ",".join(responses) + "]"] += 1
        elif (one := _owed_for(value, methods)) is not None:
            answers[one] += 1
    return Owed(answers, waits, is_sure)


def check(output: bytes, due: Owed) -> None:
    """Raise ViolationError unless the output has the owed responses, and each is valid by the specification."""
    actual: Counter[str] = Counter()
    if output and not output.endswith(b"\n"):
        raise ViolationError(f"the last line has no newline: {output[-200:]!r}")
    for line in output.splitlines():
        actual.update(_seen(line))
    missing, surplus = due.answers - actual, actual - due.answers
    if due.is_sure and (surplus or (missing and not due.waits)):
        raise ViolationError(f"owed and missing: {_few(missing)}; not owed: {_few(surplus)}")


def strict(line: bytes) -> Any:
    """Return the value of a JSON text in UTF-8 whose objects have unique keys; raises ValueError, RecursionError."""
    return json.loads(line.decode(), object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)


def _seen(line: bytes) -> Iterator[str]:
    """Check one line of the server, and yield each response as `_shown` writes it; notifications yield none."""
    try:
        value = strict(line)
    except ValueError as error:
        raise ViolationError(f"a line is not JSON: {error}: {line[:200]!r}") from None
    if isinstance(value, list):
        if not value:
            raise ViolationError("the response to a batch is empty")
        yield "[" + ",".join(_response(one) for one in value) + "]"
    elif isinstance(value, dict) and "method" in value:
        if set(value) != {"jsonrpc", "method", "params"} or value["method"] not in ("message", "end"):
            raise ViolationError(f"this is not a notification: {line[:200]!r}")
    else:
        yield _response(value)


def _response(value: Any) -> str:
    """Check one response, and return it as `_shown` writes it."""
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise ViolationError(f"this is not a response: {_short(value)}")
    if set(value) == {"jsonrpc", "result", "id"}:
        return _shown(value["id"], "done")
    if set(value) != {"jsonrpc", "error", "id"} or set(value["error"]) != {"code", "message", "data"}:
        raise ViolationError(f"this is not a response: {_short(value)}")
    error = value["error"]
    code, data = error["code"], error["data"]
    if type(code) is not int or not isinstance(error["message"], str):
        raise ViolationError(f"this is not an error object: {_short(error)}")
    if type(data.get("retryable")) is not bool or not isinstance(data.get("kind"), str):
        raise ViolationError(f"this error has no kind, or does not say whether it is retryable: {_short(error)}")
    if code in _FAULTS:
        raise ViolationError(f"the input of a client caused an internal error: {_short(error)}")
    kind = _CODES.get(code, "done")
    # A limit may apply to a line, or to a valid request.
    return _shown(value["id"], "done" if kind == "limit" and value["id"] is not None else kind)


def _owed_for(request: Any, methods: Collection[str]) -> str | None:
    """Return the response owed to a request, as `_shown` writes it, or None for a notification."""
    is_request = (
        isinstance(request, dict)
        and request.get("jsonrpc") == "2.0"
        and isinstance(request.get("method"), str)
        and isinstance(request.get("params", {}), dict | list)
        and not isinstance(request.get("id"), bool | dict | list)
    )
    if not is_request:
        return _shown(None, "invalid_request")
    if "id" not in request:
        return None
    return _shown(request["id"], "done" if request["method"] in methods else "method_not_found")


def _shown(id: Any, kind: str) -> str:
    return f"{json.dumps(id)} {kind}"


def _depth(line: bytes) -> int:
    """Return an upper bound of the nesting depth of a line."""
    return min(line.count(b"[") + line.count(b"{"), len(line))


def _few(answers: Counter[str]) -> str:
    return ", ".join(f"{count} x {shown[:200]}" for shown, count in list(answers.items())[:5]) or "nothing"


def _short(value: Any) -> str:
    return json.dumps(value)[:300]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is too large")
    return number
