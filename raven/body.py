"""Bodies: JSON values on their way into and out of the store."""

from __future__ import annotations

import json
import math
from typing import Any

from raven.errors import BodyError

DEFAULT_MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 100

_encode_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode(body: Any, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
    """Encode any JSON value as compact JSON text.

    A body may nest MAX_DEPTH levels, so that every reader's parser can take it. Raises BodyError for what JSON cannot
    hold (NaN, sets, dates, lone surrogates), for deeper nesting, and for more than `max_bytes` of UTF-8.
    """
    try:
        text = _encode_json(body)
        size = len(text) if text.isascii() else len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise BodyError(
            f"body holds the lone surrogate {error.object[error.start]!r}, which UTF-8 cannot hold"
        ) from None
    except RecursionError:
        raise BodyError(f"body nests deeper than {MAX_DEPTH} levels: flatten it") from None
    except (TypeError, ValueError) as error:
        raise BodyError(f"body is not JSON: {error}; send text, numbers, lists and dicts with text keys") from None
    if size > max_bytes:
        raise BodyError(
            f"body has {size:,} bytes as JSON, over the limit of {max_bytes:,}: send a path to a file instead, "
            "or raise max_body_bytes"
        )
    if _nests_too_deep(text, body):
        raise BodyError(f"body nests deeper than {MAX_DEPTH} levels: flatten it")
    return text


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is more than a float holds")
    return number


_decode_json = json.JSONDecoder(parse_float=_finite).raw_decode


def decode(text: str) -> Any:
    """Decode what `encode` made, or what SQLite has checked to be JSON.

    JSON of foreign writers that nests deeper than MAX_DEPTH, or holds numbers that Python cannot, comes as its text.
    """
    try:
        value = _decode_json(text.strip())[0]
    except (ValueError, RecursionError):
        return text
    return text if _nests_too_deep(text, value) else value


def parse(text: str) -> Any:
    """Parse JSON text given by a user; raises BodyError that says where it goes wrong."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise BodyError(f"body nests deeper than {MAX_DEPTH} levels: flatten it") from None
    except ValueError as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise BodyError(
            f"body {shown!r} is not JSON: {error}; plain text needs quotes of its own, as '\"text\"'"
        ) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _nests_too_deep(text: str, value: Any) -> bool:
    return text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH


def _depth(value: Any) -> int:
    deepest = 0
    todo = [(value, 1)]
    while todo:
        value, level = todo.pop()
        if isinstance(value, dict | list | tuple):
            deepest = max(deepest, level)
            todo += [(item, level + 1) for item in (value.values() if isinstance(value, dict) else value)]
    return deepest
