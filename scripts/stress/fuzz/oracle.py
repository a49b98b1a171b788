"""Oracle: which answers the helper owes for some bytes, found by Python's own json, and whether these are they."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

# What waits is answered when it has come, and not when the client has ended.
WAITING = ("request", "wait_receipt")
# The C scanner of json gives up at a depth that depends on the stack it is called from: near it either is right.
_SURELY_SHALLOW = 600
_HTTP = re.compile(rb"(?:GET|POST|PUT|HEAD|OPTIONS|DELETE|PATCH|CONNECT|TRACE|PRI) [^\s]+ HTTP/[0-9]")
_CODES = {-32700: "parse_error", -32600: "invalid_request", -32601: "method_not_found", -32022: "limit"}
# What no client can bring about, whatever it sends: something unforeseen, or a fault of the helper or of the bus.
_FAULTS = frozenset({-32603, -32000, -32004, -32010, -32013, -32014, -32015, -32018, -32020, -32023, -32024, -32025})


class ViolationError(AssertionError):
    """The helper, or a client of it, has done what the protocol does not allow; the message says what."""


class Owed(NamedTuple):
    """The answers that are owed, each by its ids and kinds, as `shown` gives them, and whether some may come later."""

    answers: Counter[str]
    waits: bool
    is_sure: bool


def owed(data: bytes, limit: int, methods: Collection[str]) -> Owed:
    """Return what is owed to a client that writes these bytes and ends."""
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


def check(found: bytes, due: Owed) -> None:
    """Raise ViolationError unless the lines found are what is due, and each is a response by the specification."""
    came: Counter[str] = Counter()
    if found and not found.endswith(b"\n"):
        raise ViolationError(f"the last line has no newline: {found[-200:]!r}")
    for line in found.splitlines():
        came.update(_seen(line))
    missing, surplus = due.answers - came, came - due.answers
    if due.is_sure and (surplus or (missing and not due.waits)):
        raise ViolationError(f"owed and not answered: {_few(missing)}; answered and not owed: {_few(surplus)}")


def strict(line: bytes) -> Any:
    """Return the value of a JSON text in UTF-8, where every object has each key once; ValueError, RecursionError."""
    return json.loads(line.decode(), object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)


def _seen(line: bytes) -> Iterator[str]:
    """Check one line of the helper's, and yield it as an answer is shown; a notification is none."""
    try:
        shape = strict(line)
    except ValueError as error:
        raise ViolationError(f"a line is no JSON text: {error}: {line[:200]!r}") from None
    if isinstance(shape, list):
        if not shape:
            raise ViolationError("the answer to a batch is empty")
        yield "[" + ",".join(_response(one) for one in shape) + "]"
    elif isinstance(shape, dict) and "method" in shape:
        if set(shape) != {"jsonrpc", "method", "params"} or shape["method"] not in ("message", "end"):
            raise ViolationError(f"this is no notification: {line[:200]!r}")
    else:
        yield _response(shape)


def _response(shape: Any) -> str:
    """Check one response, and return it as an answer is shown."""
    if not isinstance(shape, dict) or shape.get("jsonrpc") != "2.0":
        raise ViolationError(f"this is no response: {_short(shape)}")
    if set(shape) == {"jsonrpc", "result", "id"}:
        return _shown(shape["id"], "done")
    if set(shape) != {"jsonrpc", "error", "id"} or set(shape["error"]) != {"code", "message", "data"}:
        raise ViolationError(f"this is no response: {_short(shape)}")
    error = shape["error"]
    code, data = error["code"], error["data"]
    if type(code) is not int or not isinstance(error["message"], str):
        raise ViolationError(f"this is no error object: {_short(error)}")
    if type(data.get("retryable")) is not bool or not isinstance(data.get("kind"), str):
        raise ViolationError(f"this error says neither its kind nor whether to try again: {_short(error)}")
    if code in _FAULTS:
        raise ViolationError(f"what a client wrote became a fault of the helper's: {_short(error)}")
    kind = _CODES.get(code, "done")
    # A limit may be about a line, or be met by a request that is well formed.
    return _shown(shape["id"], "done" if kind == "limit" and shape["id"] is not None else kind)


def _owed_for(request: Any, methods: Collection[str]) -> str | None:
    """Return the response that one request is owed, as it is shown, or None for a notification."""
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
    """Return how deep a line may nest at most."""
    return min(line.count(b"[") + line.count(b"{"), len(line))


def _few(answers: Counter[str]) -> str:
    return ", ".join(f"{count} x {shown[:200]}" for shown, count in list(answers.items())[:5]) or "nothing"


def _short(value: Any) -> str:
    return json.dumps(value)[:300]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is too big")
    return number
