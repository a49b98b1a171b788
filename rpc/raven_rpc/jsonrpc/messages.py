"""Messages: JSON-RPC 2.0 as lines of JSON, decoded from and encoded to bytes.

https://www.jsonrpc.org/specification. Each JSON text is one line in UTF-8 that ends with a newline.
"""

from __future__ import annotations

import json
import json.encoder
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

MAX_REQUEST = 8 * 1024 * 1024
MAX_BATCH = 100_000

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class ParseError(ValueError):
    """A line is not one JSON text; the message tells its sender why."""


def parse(line: bytes) -> Any:
    """Return the value of a line; raises ParseError, also for an object with a duplicate key."""
    try:
        return _decode(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _refusal_of(error) from None


def to_text(line: bytes) -> str:
    """Return the text of a line; raises ParseError."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refusal_of(error) from None


def decode_at(text: str, start: int) -> tuple[Any, int]:
    """Return the JSON value that begins at `start`, and where it ends; raises JSONDecodeError, or ParseError."""
    try:
        return _decoder.raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise _refusal_of(error) from None


def _refusal_of(error: ValueError | RecursionError) -> ParseError:
    """Return the ParseError for an exception of the decoders."""
    match error:
        case ParseError():
            return error
        case UnicodeDecodeError():
            return ParseError(f"byte {error.start} is not UTF-8")
        case RecursionError():
            return ParseError("it nests too deep")
        case json.JSONDecodeError():
            return ParseError(f"{error.msg} at character {error.pos}")
    return ParseError("it holds a number of too many digits")


def encode_success(id: Any, result: Any) -> bytes:
    """Return the response to a request that succeeded, as a line; long lists in it are encoded item by item."""
    parts = _item_parts(result)
    if parts:
        return b"".join((b'{"jsonrpc":"2.0","result":', *parts, b',"id":%b}\n' % encode(id)[:-1]))
    return encode({"jsonrpc": "2.0", "result": result, "id": id})


def encode_result(result: Any) -> bytes:
    """Return a result alone as a line; a long list in it is encoded item by item."""
    parts = _item_parts(result)
    return b"".join((*parts, b"\n")) if parts else encode(result)


def _item_parts(result: Any) -> list[bytes]:
    """Return the parts of the JSON of an object with one list of several items; an empty list for other values.

    Between two items another thread may run, the event loop's for example.
    """
    if type(result) is not dict or len(result) != 1:
        return []
    (name, items), *_ = result.items()
    if type(items) is not list or len(items) < 2:
        return []
    parts = [b"{%b:[" % encode(name)[:-1]]
    for item in items:
        parts += encode(item)[:-1], b","
    parts[-1] = b"]}"
    return parts


def encode(value: Any) -> bytes:
    """Return a value as one line; lone surrogates, which UTF-8 cannot hold, become escapes."""
    # Surrogates stand in strings only, where Python's escape of one is JSON's, too.
    return "".join(_encode_parts(value, 0)).encode(errors="backslashreplace") + b"\n"


def success(id: Any, result: Any) -> dict[str, Any]:
    """Return the response to a request that succeeded."""
    return {"jsonrpc": "2.0", "result": result, "id": id}


def failure(id: Any, error: dict[str, Any]) -> dict[str, Any]:
    """Return the response to a request that failed, or to an invalid one (`id` None)."""
    return {"jsonrpc": "2.0", "error": error, "id": id}


def request(id: int, method: str, params: dict[str, Any] | list[Any]) -> dict[str, Any]:
    """Return a request."""
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": id}


def notification(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return a notification: it has no id, and gets no response."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def _make_encode() -> Callable[[Any, int], Iterable[str]]:
    """Return a function that encodes a value, at an indentation level, as parts of a JSON text.

    CPython's C encoder is created once here; JSONEncoder would create one per text.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value, _: _encoder.encode(value)
    # The first argument, None, turns off the check for circular references: values here have none.
    encode_parts: Callable[[Any, int], Iterable[str]] = make(
        None, _encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, True
    )
    return encode_parts


_encode_parts = _make_encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ParseError(f"the key {json.dumps(twice[:100])} is there twice in one object")
    return members


def _refuse_constant(name: str) -> None:
    raise ParseError(f"{name} is no JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ParseError(f"the number {text[:40]} is too big")
    return number


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant)
_decode = _decoder.decode
