"""Batch: a batch of too many values at once, split into the texts of its elements."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from raven.errors import LimitError
from raven.model.body import count_in
from raven_rpc.jsonrpc import messages

_PIECE = 8 * 1024
_SPACE = re.compile(r"[ \t\n\r]*")
# The decoder reports an error in a text that is cut short at most so many characters before its end, or in a string.
_NEAR_END = 16
_IN_STRING = "Unterminated string"


class Unparsed(NamedTuple):
    """The JSON text of one element of a batch."""

    text: str


def is_batch(line: bytes) -> bool:
    """Whether a line holds a batch, if it is JSON at all."""
    return line.lstrip(b" \t\n\r")[:1] == b"["


def split(line: bytes, most: int) -> list[Unparsed]:
    """Return the elements of a batch, each of them valid JSON; no more than about `most` values exist at a time.

    Raises ParseError as `messages.parse` does, and LimitError for one element of more values or too many elements.
    """
    text = messages.to_text(line)
    elements: list[Unparsed] = []
    start = _skip(text, _skip(text, 0) + 1)
    while True:
        end = _end_of(text, start, most)
        window, at = text[start:end], 0
        while True:
            stop = _decode(window, at, start, is_whole=end == len(text))
            if stop is None:
                break
            elements.append(Unparsed(window[at:stop]))
            if len(elements) > messages.MAX_BATCH:
                raise LimitError(f"a batch of more requests than the limit of {messages.MAX_BATCH:,}; nothing was done")
            at = _skip(window, stop)
            if window[at] == "]":
                _check_end(text, start + at + 1)
                return elements
            at = _skip(window, at + 1)
        if at == 0:
            raise LimitError(
                f"element {len(elements) + 1:,} of the batch holds more JSON values than the limit `values` of "
                f"{most:,}; nothing was done: send less at once"
            )
        start = _skip(text, start + at)


def _decode(window: str, at: int, start: int, *, is_whole: bool) -> int | None:
    """Return where the element at `at` ends; None if the window, which begins at `start`, cuts it or what follows.

    `is_whole`: the window ends with the text.
    """
    try:
        _, end = messages.decode_at(window, at)
        following = _skip(window, end)
        if window[following : following + 1] in ("]", ","):
            return end
        error = json.JSONDecodeError("Expecting ',' delimiter", window, following)
    except json.JSONDecodeError as caught:
        error = caught
    if not is_whole and (error.pos >= len(window) - _NEAR_END or error.msg.startswith(_IN_STRING)):
        return None
    raise messages.ParseError(f"{error.msg} at character {start + error.pos}")


def _end_of(text: str, start: int, most: int) -> int:
    """Return the end of the longest part of a text from `start` on that holds about `most` values."""
    count, is_inside, end = 0, 0, start
    while end < len(text) and count <= most:
        begin, end = end, end + _PIECE
        while text[end - 1 : end] == "\\":  # an escape is not cut
            end += 1
        more, is_inside = count_in(text[begin:end].encode(errors="replace"), is_inside)
        count += more
    return min(end, len(text))


def _skip(text: str, at: int) -> int:
    """Return the first position from `at` on that holds no white space."""
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _check_end(text: str, at: int) -> None:
    at = _skip(text, at)
    if at < len(text):
        raise messages.ParseError(f"Extra data at character {at}")
