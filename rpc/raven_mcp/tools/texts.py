"""Texts: the JSON that a model reads, in which no character hides, and the parts of long bodies.

A body is always a JSON string, so that no body can end the string it stands in and speak in another's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from raven.model.message import Message

# Sizes of shown text, in characters of its JSON.
MAX_BODY = 4_000
MAX_RESULT = 12_000
# In a list, each message shows at least so much of its body.
_LEAST = 300
# For the rest of a result, and for the marks of a message that is cut.
FRAME, _CUT = 200, 40
_LONGEST_ESCAPE = 12
_MAX_TYPE = 80
# C0, DEL and C1; soft hyphen; marks of direction; invisible blanks and operators; separators that end a line for some
# programs; byte order mark; annotations; tags and other variants that no font shows; halves of a pair.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    "\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(value: Any) -> str:
    """Return a value as compact JSON; each character that no reader could see is an escape, as `\\u202e`."""
    text = _encode(value)
    return text if text.isascii() and "\x7f" not in text else _HIDDEN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    return f"\\u{0xD7C0 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def size(value: Any) -> int:
    """Return how many characters a value takes as JSON."""
    return len(encode(value))


def body_text(message: Message) -> str:
    """Return the body of a message as the text that a model reads: a text as it is, any other value as JSON."""
    if message.truncated:
        return "(a body over 16 MiB, which raven does not show)"
    return message.body if isinstance(message.body, str) else _encode(message.body)


def one_line(text: str) -> str:
    """Return a text as one line of visible characters."""
    return _HIDDEN.sub(_escape, " ".join(text.split()))


def part(text: str, start: int, room: int) -> str:
    """Return the part of a text from `start` that takes at most `room` characters as JSON; at least one character."""
    shown = text[start : start + max(1, room)]
    while (excess := size(shown) - 2 - room) > 0 and len(shown) > 1:
        # Each character takes at most 12 in JSON: never more of them go than must.
        shown = shown[: -max(1, excess // _LONGEST_ESCAPE)]
    return shown


def cut(text: str, most: int) -> str:
    """Return a text with at most `most` characters of it."""
    return text if len(text) <= most else f"{text[:most]}..."


def moment(at: datetime) -> str:
    """Return a time of the bus as text, to the second."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def head(message: Message) -> dict[str, Any]:
    """Return a message as a model reads it, still without its body."""
    shown: dict[str, Any] = {
        "id": message.id,
        "from": message.sender,
        "type": cut(message.type, _MAX_TYPE),
        "body": "",
        "at": moment(message.created_at),
    }
    if message.reply_to is not None:
        shown["reply_to"] = message.reply_to
    if message.urgency != "prompt":
        shown["urgency"] = message.urgency
    return shown


def fill(heads: Sequence[dict[str, Any]], messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Put the bodies into the heads of messages, as far as one result has room; return the heads that fit.

    The first bodies are shown whole, and of each later one at least its beginning. `cut` is the offset at which the
    rest of a body begins, and `of` the length of the whole.
    """
    texts = [body_text(message) for message in messages]
    least = [min(_LEAST, size(text[:_LEAST])) for text in texts]
    room, count = MAX_RESULT - FRAME, 0
    for head, needed in zip(heads, least, strict=True):
        cost = needed + size(head) + _CUT
        if count and cost > room:
            break
        room, count = room - cost, count + 1
    for head, text, needed in zip(heads[:count], texts, least, strict=False):
        set_body(head, text, 0, min(MAX_BODY, needed + max(0, room)))
        room -= max(0, size(head["body"]) - 2 - needed)
    return list(heads[:count])


def set_body(head: dict[str, Any], text: str, start: int, room: int) -> None:
    """Show the part of a body that begins at `start`, and whether more of it follows."""
    shown = part(text, start, room)
    head["body"] = shown
    if start:
        head["offset"] = start
    if start + len(shown) < len(text):
        head.update(cut=start + len(shown), of=len(text))
