"""Bodies: JSON values on their way into and out of the store."""

from __future__ import annotations

import json
import json.encoder
import math
import re
from collections.abc import Callable
from typing import Any

from raven.errors import BodyError
from raven.model.limits import DEFAULT_MAX_BYTES

MAX_DEPTH = 100


def _make_encode() -> Callable[[Any], str]:
    """Return the JSON encoder; CPython's own in C is made once here, and not for each text as JSONEncoder does."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    # Without the markers by which it finds circles: they would have to be made anew for each text, too.
    encode = make(None, encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)

    def encode_in_c(body: Any) -> str:
        try:
            return "".join(encode(body, 0))
        except RecursionError:
            return encoder.encode(body)  # says which it is, a circle or depth

    return encode_in_c


_encode_json = _make_encode()


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
    # So many levels take twice as many brackets.
    if len(text) > 2 * MAX_DEPTH and _nests_too_deep(text, body):
        raise BodyError(f"body nests deeper than {MAX_DEPTH} levels: flatten it")
    return text


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is more than a float holds")
    return number


_decode_json = json.JSONDecoder(parse_float=_finite).raw_decode
_SURROGATES = re.compile("[\ud800-\udfff]")


def decode(text: str) -> Any:
    """Decode what `encode` made, or what SQLite has checked to be JSON.

    JSON of foreign writers that nests deeper than MAX_DEPTH, or holds numbers that Python cannot, comes as its text. A
    lone surrogate of theirs, which UTF-8 cannot hold and many readers of JSON refuse, comes as U+FFFD.
    """
    try:
        value = _decode_json(text.strip())[0]
    except (ValueError, RecursionError):
        return text
    if len(text) > 2 * MAX_DEPTH and _nests_too_deep(text, value):
        return text
    return _without_surrogates(value) if "\\ud" in text or "\\uD" in text else value


def _without_surrogates(value: Any) -> Any:
    written = json.dumps(value, ensure_ascii=False)
    whole = _SURROGATES.sub("\ufffd", written)
    return value if whole == written else json.loads(whole)


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


def copy(body: Any, text: str) -> Any:
    """Return what `decode` makes of the text that `encode` has made of a body, mostly without reading it."""
    if type(body) is dict:
        for key, value in body.items():
            if type(key) is not str or type(value) not in _ATOMS:
                return decode(text)
        return body.copy()
    return body if type(body) in _ATOMS else decode(text)


# Values that nobody can change, and that come back from JSON as they are.
_ATOMS = frozenset({str, int, bool, float, type(None)})
# What is JSON already, at least at its top.
PLAIN = _ATOMS | {dict, list}


def _nests_too_deep(text: str, value: Any) -> bool:
    opened = 0
    for bracket in "[{":
        # Not counted: a text is searched ten times as fast.
        place = text.find(bracket)
        while place >= 0 and opened <= MAX_DEPTH:
            opened += 1
            place = text.find(bracket, place + 1)
    return opened > MAX_DEPTH and _depth(value) > MAX_DEPTH


def _depth(value: Any) -> int:
    deepest = 0
    todo = [(value, 1)]
    while todo:
        value, level = todo.pop()
        if isinstance(value, dict | list | tuple):
            deepest = max(deepest, level)
            todo += [(item, level + 1) for item in (value.values() if isinstance(value, dict) else value)]
    return deepest
