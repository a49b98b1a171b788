"""Frames: the JSON objects that hosts send each other, made from rows and checked when they come from another host."""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from raven.delivery.outbox import MAX_RECIPIENTS
from raven.errors import InputError, abbreviate
from raven.exchange.values import Frame
from raven.model.address import MAX_LENGTH, is_private, parse_target
from raven.model.limits import MAX_ATTEMPTS, MAX_ID, is_integer
from raven.model.message import MESSAGE_COLUMNS, TO_SEPARATOR, MessageRow

RETURNED = 9  # the state of a delivery that a host has given back, besides the indexes of STATES
_STATES = (0, 1, 2, 3, 4, RETURNED)
_MAX_TEXT = 1024
_MAX_REASON = 4096
_MAX_TAGS = 1 << 22
_LARGEST = (1 << 62) - 1
_NOTHING = object()
# The columns of a message that a frame has, by their keys in it. An id is another one on each host, and the host that
# sends a message makes the report on it.
_COLUMNS = dict(
    zip(
        ("s", "t", "y", "b", "u", "g", "c", "a", "d", "at", "x", "p"),
        (name for name in MESSAGE_COLUMNS if name not in ("id", "reply_to", "report")),
        strict=True,
    )
)
_KEYS = tuple((key, MESSAGE_COLUMNS.index(name)) for key, name in _COLUMNS.items())
_TIMES = frozenset({"at", "x"})
_REPLY_TO = MESSAGE_COLUMNS.index("reply_to")
_REQUIRED = frozenset(_COLUMNS[key] for key in ("s", "t", "y", "b", "u", "at"))
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Recipient(NamedTuple):
    """One recipient of a message: the most attempts, the attempts so far, and the expiry of its delivery."""

    address: str
    max_attempts: int
    attempts: int
    expires_at: int | None


class MessageFrame(NamedTuple):
    """A message for recipients on this host; its row has no id yet, and the times of the server's clock.

    `origin` is `host/id/created_at`, and so is `reply_to`, the message that it replies to.
    """

    tag: int
    origin: str
    row: MessageRow
    reply_to: str | None
    recipients: list[Recipient]


ANY_FRAME = 0


class News(NamedTuple):
    """The state of one delivery on the host that tells it; `frame` is the tag of the frame that brought the message.

    It is ANY_FRAME for a delivery that the host refuses, whichever frame brings it.
    """

    message_id: int
    created_at: int
    recipient: str
    state: int
    attempts: int
    delivered_at: int | None
    finished_at: int | None
    reason: str | None
    frame: int


class Change(NamedTuple):
    """The new expiry of a delivery that the telling host has given to this one; None: it has taken it back."""

    origin: str
    recipient: str
    expires_at: int | None


class NewsFrame(NamedTuple):
    """News of deliveries that this bus has given to a host, and changes of deliveries that came from there."""

    news: list[News]
    changes: list[Change]
    refused: int


class LossFrame(NamedTuple):
    """The word of a host that this bus has an older file than before: news of its held deliveries may be lost."""


class RefusedFrame(NamedTuple):
    """A message that this host never takes; `origin` is None if it is not known whose it is."""

    origin: str | None
    recipients: list[str]
    reason: str


def number_of(frame: Any) -> tuple[int, int] | None:
    """Return the number and the tag of a frame; None if it has none."""
    if not isinstance(frame, Mapping):
        return None
    number: Any = frame.get("n")
    tag: Any = frame.get("k")
    return (number, tag) if is_integer(number, 1, _LARGEST) and is_integer(tag, 1, _LARGEST) else None


def message_content(message_id: int, created_at: int, recipients: Sequence[Recipient]) -> str:
    """Return the part of a message's frame that is made when the message is held."""
    return _encode({"o": [message_id, created_at], "to": recipients})


LOSS_CONTENT = _encode({"l": 1})


def news_content(news: Sequence[Any], changes: Sequence[Any]) -> str:
    """Return a frame with news without its number: rows of News, and of changes with the message id and its time."""
    return _encode({name: rows for name, rows in (("i", news), ("w", changes)) if rows})


def origin_ids(origin: str) -> tuple[int, int]:
    """Return the id and the send time in an origin."""
    _, message_id, created_at = origin.split("/")
    return int(message_id), int(created_at)


def frame_from_row(row: Sequence[Any], host: str, to_wire: Callable[[int | None], int | None]) -> Frame:
    """Return a frame to send from a row of `frames_between`; a message that was deleted leaves a frame without one."""
    number, tag, content, is_message, asked_at, asked_origin, *columns = row
    start = f'{{"n":{number},"k":{tag}'
    if not is_message:
        return Frame(number, tag, f"{start},{content[1:]}")
    if columns[0] is None:
        return Frame(number, tag, f"{start}}}")
    fields = {key: columns[index] for key, index in _KEYS if columns[index] is not None}
    for key in _TIMES & fields.keys():
        fields[key] = to_wire(fields[key])
    reply_to = columns[_REPLY_TO]
    if asked_origin is not None:
        fields["r"] = asked_origin
    elif reply_to is not None and asked_at is not None:
        fields["r"] = f"{host}/{reply_to}/{asked_at}"
    return Frame(number, tag, f"{start},{content[1:-1]},{_encode(fields)[1:]}")


def parse(
    host: str, frame: Mapping[str, Any], max_body_bytes: int
) -> MessageFrame | NewsFrame | LossFrame | RefusedFrame | None:
    """Check a numbered frame of a host; None if it says nothing. Unknown keys are passed over."""
    if "o" in frame:
        return _parse_message(host, frame, max_body_bytes)
    if "i" in frame or "w" in frame:
        news = [_parse_news(item) for item in _list_of(frame.get("i"))]
        changes = [_parse_change(host, item) for item in _list_of(frame.get("w"))]
        return NewsFrame(
            [one for one in news if one is not None],
            [one for one in changes if one is not None],
            news.count(None) + changes.count(None),
        )
    return LossFrame() if "l" in frame else None


def _parse_message(host: str, frame: Mapping[str, Any], max_body_bytes: int) -> MessageFrame | RefusedFrame:
    origin, to = frame["o"], _list_of(frame.get("to"))
    if not _is_origin(origin):
        return RefusedFrame(None, [], f"its origin {abbreviate(origin)} is no message")
    name = f"{host}/{origin[0]}/{origin[1]}"
    try:
        # Few frames are wrong: the recipients of one that is are read again, as far as they can be.
        if not 0 < len(to) <= MAX_RECIPIENTS:
            raise InputError(f"it has {len(to):,} recipients: 1 to {MAX_RECIPIENTS:,} are possible")
        by_address = {one.address: one for one in map(_recipient, to)}
        row, reply_to = _row(frame, max_body_bytes)
        return MessageFrame(frame["k"], name, row, reply_to, [*by_address.values()])
    except InputError as error:
        texts = [item[0] for item in to if isinstance(item, list) and item and isinstance(item[0], str)]
        return RefusedFrame(name, [text for text in texts if _is_text(text, MAX_LENGTH)], str(error))


def _row(frame: Mapping[str, Any], max_body_bytes: int) -> tuple[MessageRow, str | None]:
    """Return the row of a message, and the origin of the message that it replies to; raises InputError."""
    values = {name: frame[key] for key, name in _COLUMNS.items() if frame.get(key) is not None}
    for name in _REQUIRED - values.keys():
        raise InputError(f"its {name} is missing")
    for name, value in values.items():
        fits, wanted = _CHECKS.get(name, _TEXT)
        if not fits(value):
            raise InputError(f"its {name} {abbreviate(value)} is not {wanted}")
    _check_size(values["body"], max_body_bytes)
    reply_to = frame.get("r")
    if reply_to is not None and not _is_text(reply_to, _MAX_TEXT):
        raise InputError(f"the message {abbreviate(reply_to)} that it replies to is no origin")
    return MessageRow(0, **values), reply_to


def _check_size(body: str, max_bytes: int) -> None:
    size = len(body) if body.isascii() else len(body.encode())
    if size > max_bytes:
        raise InputError(f"its body has {size:,} bytes, over the limit of {max_bytes:,}: raise max_body_bytes there")


def _recipient(item: Any) -> Recipient:
    if not isinstance(item, list) or len(item) < 4:
        raise InputError(f"its recipient {abbreviate(item)} is malformed")
    address, max_attempts, attempts, expires_at = item[:4]
    if not isinstance(address, str) or parse_target(address).is_pattern:
        raise InputError(f"its recipient {abbreviate(address)} is no address")
    if (
        not is_integer(max_attempts, 1, MAX_ATTEMPTS)
        or not is_integer(attempts, 0, _LARGEST)
        or not (expires_at is None or is_integer(expires_at, 0, _LARGEST))
    ):
        raise InputError(f"its recipient {abbreviate(item)} is malformed")
    return Recipient(address, max_attempts, attempts, expires_at)


def _parse_news(item: Any) -> News | None:
    if not isinstance(item, list) or len(item) < len(News._fields):
        return None
    one = News(*item[: len(News._fields)])
    fits = (
        _is_origin(one[:2])
        and _is_text(one.recipient, MAX_LENGTH)
        and is_integer(one.state, 0, RETURNED)
        and one.state in _STATES
        and is_integer(one.attempts, 0, _LARGEST)
        and is_integer(one.frame, ANY_FRAME, _LARGEST)
        and all(time is None or is_integer(time, 0, _LARGEST) for time in (one.delivered_at, one.finished_at))
        and isinstance(one.reason, str | None)
    )
    if not fits:
        return None
    return (
        one if one.reason is None else one._replace(reason=one.reason[:_MAX_REASON].encode("utf-8", "replace").decode())
    )


def _parse_change(host: str, item: Any) -> Change | None:
    if not isinstance(item, list) or len(item) < 4 or not _is_origin(item[:2]) or not _is_text(item[2], MAX_LENGTH):
        return None
    expires_at = item[3]
    if expires_at is not None and not is_integer(expires_at, 0, _LARGEST):
        return None
    return Change(f"{host}/{item[0]}/{item[1]}", item[2], expires_at)


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_origin(pair: Any) -> bool:
    return (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and is_integer(pair[0], 1, MAX_ID)
        and is_integer(pair[1], 0, _LARGEST)
    )


def _is_text(value: Any, max_length: int) -> bool:
    """Whether a value is a text that the file can hold, of at most so many characters."""
    if not isinstance(value, str) or len(value) > max_length:
        return False
    return value.isascii() or _is_utf8(value)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_json(value: Any) -> bool:
    return isinstance(value, str) and _is_utf8(value) and _decoded(value) is not _NOTHING


def _is_tags(value: Any) -> bool:
    tags = _decoded(value) if _is_text(value, _MAX_TAGS) else None
    return isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)


def _decoded(text: str) -> Any:
    try:
        # Numbers are left alone: Python would refuse one of 5,000 digits.
        return json.loads(text, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return _NOTHING


def _is_address(value: Any) -> bool:
    try:
        return not parse_target(value).is_pattern
    except InputError:
        return False


def _is_to(value: Any) -> bool:
    try:
        return isinstance(value, str) and all(map(parse_target, value.split(TO_SEPARATOR)))
    except InputError:
        return False


def _is_some_text(value: Any) -> bool:
    return _is_text(value, _MAX_TEXT) and bool(value.strip())


def _is_time(value: Any) -> bool:
    return is_integer(value, 0, _LARGEST)


_TEXT = (_is_some_text, f"a text of 1 to {_MAX_TEXT} characters")
_TIME = (_is_time, "a time")
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "sender": (_is_address, "an address"),
    "to": (_is_to, "an address or a list of addresses"),
    "body": (_is_json, "JSON text"),
    "urgency": (lambda value: is_integer(value, 0, 2), "an urgency"),
    "tags": (_is_tags, "a JSON array of texts"),
    "reply_address": (lambda value: _is_address(value) and is_private(value), "a private reply address"),
    **dict.fromkeys(("created_at", "expires_at"), _TIME),
}
