"""Bodies: encodes JSON values for the store, decodes them, and counts those of a JSON text before it is parsed."""

from __future__ import annotations

import json
import json.encoder
import math
import re
from array import array
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

from raven.errors import BodyError, abbreviate
from raven.model.limits import DEFAULT_MAX_BYTES

MAX_DEPTH = 100


def _make_encode() -> Callable[[Any], str]:
    """Return a JSON encoder that builds CPython's C encoder once; JSONEncoder builds it for every text."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    c_make_encoder = getattr(json.encoder, "c_make_encoder", None)
    if c_make_encoder is None:
        return encoder.encode
    # None: no markers against circular references, because each text would need new ones.
    encode = c_make_encoder(None, encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)

    def encode_in_c(body: Any) -> str:
        try:
            return "".join(encode(body, 0))
        except RecursionError:
            return encoder.encode(body)  # raises ValueError for a circle, RecursionError for depth

    return encode_in_c


_encode_json = _make_encode()


def encode(body: Any, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
    """Encode any JSON value as compact JSON text.

    A body may nest MAX_DEPTH levels, within the limit of every JSON parser. Raises BodyError for deeper nesting, for
    more than `max_bytes` of UTF-8, and for values outside JSON (NaN, sets, dates, lone surrogates).
    """
    try:
        text = _encode_json(body)
        size = len(text) if text.isascii() else len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise BodyError(
            f"body contains the lone surrogate {abbreviate(error.object[error.start])}, which UTF-8 cannot encode"
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
    if _nests_too_deep(text):
        raise BodyError(f"body nests deeper than {MAX_DEPTH} levels: flatten it")
    return text


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is beyond the range of a float")
    return number


_decode_json = json.JSONDecoder(parse_float=_finite).raw_decode
_SURROGATES = re.compile("[\ud800-\udfff]")


def decode(text: str) -> Any:
    """Decode JSON text from `encode`, or from an external writer after SQLite's own check.

    External JSON that nests deeper than MAX_DEPTH, or exceeds the range of a float, is returned as text. An external
    lone surrogate, which UTF-8 cannot encode and many JSON parsers refuse, becomes U+FFFD.
    """
    try:
        value = _decode_json(text.strip())[0]
    except (ValueError, RecursionError):
        return text
    if _nests_too_deep(text) and _depth_of(value) > MAX_DEPTH:  # a repeated name can hide what nests too deep
        return text
    return _without_surrogates(value) if "\\ud" in text or "\\uD" in text else value


def _without_surrogates(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    replaced = _SURROGATES.sub("\ufffd", text)
    return value if replaced == text else json.loads(replaced)


def parse(text: str) -> Any:
    """Parse a user's JSON text; raises BodyError with the position of the fault."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise BodyError(f"body nests deeper than {MAX_DEPTH} levels: flatten it") from None
    except ValueError as error:
        raise BodyError(
            f"body {abbreviate(text)} is not JSON: {error}; plain text needs quotes of its own, as '\"text\"'"
        ) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def copy(body: Any, text: str) -> Any:
    """Return `decode(text)` for the encoded `text` of a body; flat dicts and scalars need no parse."""
    if type(body) is dict:
        for key, value in body.items():
            if type(key) is not str or type(value) not in _ATOMS:
                return decode(text)
        return body.copy()
    return body if type(body) in _ATOMS else decode(text)


# Immutable types that JSON preserves.
_ATOMS = frozenset({str, int, bool, float, type(None)})
# Types that are JSON values, at least at the top level.
PLAIN = _ATOMS | {dict, list}


def _nests_too_deep(text: str) -> bool:
    if len(text) <= 2 * MAX_DEPTH:  # it cannot hold so many pairs of brackets
        return False
    opened = 0
    for bracket in "[{":
        # `find` in a loop is ten times as fast as `count` over the whole text.
        index = text.find(bracket)
        while index >= 0 and opened <= MAX_DEPTH:
            opened += 1
            index = text.find(bracket, index + 1)
    return opened > MAX_DEPTH and depth(text) > MAX_DEPTH


def depth(text: str) -> int:
    """Return how many levels the lists and objects of a JSON text nest; C code does nearly all of the work."""
    brackets = b"".join(_brackets(text))
    levels = 0
    while brackets:
        # Without its empty lists, a text nests one level less. Most texts soon have no bracket left.
        rest = brackets.replace(b"[]", b"")
        if 4 * len(rest) > 3 * len(brackets):
            break
        brackets, levels = rest, levels + 1
    level = deepest = 0
    for start in range(0, len(brackets), _PIECE):
        steps = list(accumulate(array("b", brackets[start : start + _PIECE].translate(_STEPS)), initial=level))
        level, deepest = steps[-1], max(deepest, *steps)
    return levels + deepest


_PIECE = 1 << 14
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[]", b"\x01\xff")  # 1 and -1 as signed bytes


def _brackets(text: str) -> Iterator[bytes]:
    """Yield the brackets of a JSON text outside of its strings, the curly ones as square ones."""
    if "\\" in text:
        text = text.replace("\\\\", "").replace('\\"', "")
    inside = 0
    for start in range(0, len(text), _PIECE):
        parts = text[start : start + _PIECE].split('"')
        yield "".join(parts[inside::2]).encode("utf-8", "replace").translate(_BRACKETS, _OTHERS)
        inside = (inside + len(parts) - 1) % 2


def _depth_of(value: Any) -> int:
    deepest = 0
    todo = [(value, 1)]
    while todo:
        value, level = todo.pop()
        if isinstance(value, dict | list | tuple):
            deepest = max(deepest, level)
            todo += [(item, level + 1) for item in (value.values() if isinstance(value, dict) else value)]
    return deepest


# A text with more strings holds too many values in any case; they are not told from the other values.
_MAX_COUNTED = 1_000_000
_COUNTED_PIECE = 1 << 16


def count_values(text: bytes) -> int:
    """Return about how many JSON values a JSON text holds, keys included and strings as one, without a parse."""
    bare = text.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in text else text
    strings = bare.count(b'"') // 2
    if strings > _MAX_COUNTED:
        return strings
    others = is_inside = 0
    for start in range(0, len(bare), _COUNTED_PIECE):  # few parts exist at a time, and other threads run in between
        more, is_inside = _count_others(bare[start : start + _COUNTED_PIECE], is_inside)
        others += more
    return strings + others


def count_in(piece: bytes, is_inside: int) -> tuple[int, int]:
    """Count as `count_values` does in a piece that cuts no escape; takes and returns whether a string is cut.

    `is_inside` is 1 if the piece begins inside a string, else 0; the second result is the same for its end.
    """
    bare = piece.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in piece else piece
    others, ends_inside = _count_others(bare, is_inside)
    return (bare.count(b'"') + ends_inside) // 2 + others, ends_inside


def _count_others(bare: bytes, is_inside: int) -> tuple[int, int]:
    """Count the values of a piece without escapes that are no strings; takes and returns the same as `count_in`."""
    parts = bare.split(b'"')
    outside = b"".join(parts[is_inside::2])
    return outside.count(b",") + outside.count(b"[") + outside.count(b"{"), (is_inside + len(parts) - 1) % 2
