"""Message: a message with one delivery, as its recipient or an observer sees it; and its row in the store."""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any, Literal, NamedTuple, cast

from raven.model import body as bodies
from raven.model.clock import from_micros, isoformat, optional_from_isoformat
from raven.model.limits import MAX_PAGE_BYTES

Urgency = Literal["blocking", "prompt", "fyi"]
AckMode = Literal["auto", "manual", "prefetch"]
State = Literal["sent", "delivered", "acked", "expired", "dead"]
Report = Literal["undelivered"]

# The store keeps both as their index in these tuples; an inbox is sorted by the index of the urgency.
URGENCIES: tuple[Urgency, ...] = ("blocking", "prompt", "fyi")
STATES: tuple[State, ...] = ("sent", "delivered", "acked", "expired", "dead")

SENT, DELIVERED, ACKED, EXPIRED, DEAD = range(len(STATES))
# The `ready_at` of a delivery that is held for another host, under that host's lease: the end of the year 9999. Leases
# end within a day, and so no timer and no clock of this host ends a hold.
HELD_UNTIL = 253_402_300_799_000_000

# Joins a list of addresses in the column `to`; no address can contain this character.
TO_SEPARATOR = "\n"
_NOT_DECODED = object()


# Only claimed messages have a lease; only messages returned by `send` have the next two.
_OPTIONAL_KEYS = ("lease", "waiting", "duplicate", "truncated")
# A reply to a message, and the report of an undelivered one, inherit these columns.
INHERITED = ("correlation_id", "task_id")


@dataclass(frozen=True, slots=True)
class Message:
    """One message with the state of one delivery of it; immutable.

    `to` is the sender's text: an address, a pattern, or a tuple of both. `recipient` is the address of the delivery.
    `send` and `history` return messages as a whole: then `recipient` is `to`, joined by ", ", and `state` is the least
    advanced state of all deliveries. Times are datetimes in UTC.

    `finished_at` is the time of the ack, the expiry or the death. `reason` explains the latest release, or the death.
    The sender of a request waits for the reply at `reply_address`. `lease` is the token of the claim. In the result
    of `send`, `waiting` says for each recipient whether a subscriber was waiting there; `duplicate` says whether an
    earlier send with the same `dedup_key` stored the message. `truncated` says that a server left out the body, because
    the message is over 16 MiB: `read` returns the whole message.
    """

    id: int
    sender: str
    recipient: str
    to: str | tuple[str, ...]
    type: str
    body: Any
    state: State
    urgency: Urgency
    tags: tuple[str, ...]
    correlation_id: str | None
    reply_to: int | None
    task_id: str | None
    dedup_key: str | None
    attempts: int
    created_at: datetime
    delivered_at: datetime | None
    acked_at: datetime | None
    expires_at: datetime | None
    finished_at: datetime | None = None
    reply_address: str | None = None
    report: Report | None = None
    reason: str | None = None
    lease: int | None = None
    waiting: dict[str, bool] | None = field(default=None, compare=False)
    duplicate: bool = field(default=False, compare=False)
    truncated: bool = False

    @property
    def status(self) -> State:
        """The state, under its name in version 0.1."""
        return self.state

    @property
    def session_id(self) -> str:
        """The sender's session."""
        return self.sender.partition(":")[2]

    @property
    def recipient_role(self) -> str:
        """The part of `recipient` before the colon."""
        return self.recipient.partition(":")[0]

    @property
    def recipient_session(self) -> str:
        """The part of `recipient` after the colon."""
        return self.recipient.partition(":")[2]

    @staticmethod
    def from_row(
        row: tuple[Any, ...],
        now: int,
        lease: int | None = None,
        waiting: dict[str, bool] | None = None,
        duplicate: bool = False,
        value: Any = _NOT_DECODED,
    ) -> "Message":
        """Build a message from a row with the columns of MessageRow; `value` is its body, if already decoded.

        A row without a body is that of a truncated message.
        An unleased delivery past its `expires_at` shows as expired, even before `expire` marks it in the file.
        """
        # One long function, because it runs for each sent and each received message.
        to, body, urgency, tags, created_at, expires_at, recipient, state, delivered_at, finished_at, leased_until = (
            _converted(row)
        )
        is_list = TO_SEPARATOR in to
        finished = None if finished_at is None else from_micros(finished_at)
        message: Any = _MutableMessage()
        for name, index in _AS_STORED:
            setattr(message, name, row[index])
        message.recipient = recipient or (to.replace(TO_SEPARATOR, ", ") if is_list else to)
        message.to = tuple(to.split(TO_SEPARATOR)) if is_list else to
        message.truncated = body is None
        message.body = value if value is not _NOT_DECODED else None if body is None else bodies.decode(body)
        message.state = (
            "expired"
            if expires_at is not None and expires_at <= now and state < 2 and (leased_until or 0) <= now
            else STATES[state]
        )
        message.urgency = URGENCIES[urgency]
        message.tags = _tags(tags) if tags else ()
        message.created_at = from_micros(created_at)
        message.delivered_at = None if delivered_at is None else from_micros(delivered_at)
        message.acked_at = finished if state == 2 else None
        message.expires_at = None if expires_at is None else from_micros(expires_at)
        message.finished_at = finished
        message.lease = lease
        message.waiting = waiting
        message.duplicate = duplicate
        message.__class__ = Message
        return cast(Message, message)

    @classmethod
    def from_dict(cls, json: Mapping[str, Any]) -> "Message":
        """Build a message from its JSON form, as `as_dict` returns it; raises KeyError or ValueError for bad input."""
        values = {name: json[name] for name in cls.__slots__ if name in json or name not in _OPTIONAL_KEYS}
        for name in _TIMES:
            values[name] = optional_from_isoformat(values[name])
        to = values["to"]
        values.update(to=to if isinstance(to, str) else tuple(to), tags=tuple(values["tags"]))
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form that the command line and the socket print; times are ISO 8601 in UTC."""
        json: dict[str, Any] = dict(zip(JSON_KEYS, _shown(self), strict=True))
        json["session_id"] = self.sender.partition(":")[2]
        json["recipient_role"], _, json["recipient_session"] = self.recipient.partition(":")
        json["tags"] = list(self.tags)
        if not isinstance(self.to, str):
            json["to"] = list(self.to)
        for name in _TIMES:
            if json[name] is not None:
                json[name] = isoformat(json[name])
        if self.lease is not None:
            json["lease"] = self.lease
        if self.waiting is not None:
            json.update(waiting=self.waiting, duplicate=self.duplicate)
        if self.truncated:
            json["truncated"] = True
        return json


_TIMES = tuple(one.name for one in fields(Message) if one.type in (datetime, datetime | None))
_DERIVED = {"id": ("session_id",), "recipient": ("recipient_role", "recipient_session"), "state": ("status",)}
_SOURCES = {"session_id": "sender", "recipient_role": "recipient", "recipient_session": "recipient", "status": "state"}
# The keys of the JSON form: the fields in their order, each followed by the properties derived from it.
JSON_KEYS = tuple(
    name
    for one in fields(Message)
    if one.name not in _OPTIONAL_KEYS
    for name in (one.name, *_DERIVED.get(one.name, ()))
)
_shown = attrgetter(*(_SOURCES.get(name, name) for name in JSON_KEYS))


class _MutableMessage:
    """A Message that is not frozen yet; Python allows a change of `__class__` between classes with the same slots.

    Setting 26 fields of a frozen dataclass takes ten times as long, because each needs a call.
    """

    __slots__ = Message.__slots__


class MessageRow(NamedTuple):
    """A row of the store, in the column order of every statement that reads or writes messages.

    The message's columns come first, then one delivery's, which start at `recipient`: None for a message as a whole.
    Times are microseconds since 1970; urgency and state are indexes in URGENCIES and STATES. `id` and `created_at` are
    0 until the insert.
    """

    id: int
    sender: str
    to: str
    type: str
    body: str
    urgency: int = 1
    tags: str | None = None
    correlation_id: str | None = None
    reply_to: int | None = None
    task_id: str | None = None
    dedup_key: str | None = None
    created_at: int = 0
    expires_at: int | None = None
    reply_address: str | None = None
    report: Report | None = None
    recipient: str | None = None
    state: int = 0
    attempts: int = 0
    delivered_at: int | None = None
    finished_at: int | None = None
    reason: str | None = None
    leased_until: int | None = None

    def delivered_row(self, state: int, now: int, finished_at: int | None) -> tuple[Any, ...]:
        """Return the row after a claim or a consume; both change only the last six columns."""
        return (*self[:-6], state, self.attempts + 1, self.delivered_at or now, finished_at, self.reason, None)


_DELIVERY_AT = MessageRow._fields.index("recipient")
MESSAGE_COLUMNS, DELIVERY_COLUMNS = MessageRow._fields[:_DELIVERY_AT], MessageRow._fields[_DELIVERY_AT:]
# Message converts the values of these columns; it copies all others.
_CONVERTED = (
    "to", "body", "urgency", "tags", "created_at", "expires_at", "recipient", "state", "delivered_at", "finished_at",
    "leased_until",
)  # fmt: skip
_converted = itemgetter(*map(MessageRow._fields.index, _CONVERTED))
_AS_STORED = tuple((name, index) for index, name in enumerate(MessageRow._fields) if name not in _CONVERTED)


# The JSON form of a message has at most this many bytes besides its texts: names, times and numbers.
_JSON_BYTES = 700
# A character of a text takes at most six bytes in JSON: \\u0001.
_BYTES_PER_CHARACTER = 6
_SENDER, _TO, _BODY, _TAGS, _REASON = map(MessageRow._fields.index, ("sender", "to", "body", "tags", "reason"))
_MAX_SHOWN_RECIPIENTS = 10


def json_size(row: Sequence[Any]) -> int:
    """Return how many bytes the JSON form of a row has at most, apart from numbers like 1e15 in an external body."""
    # The form repeats the sender's session, and the parts of the recipient, which may be the whole `to`.
    characters = len(row[_SENDER]) + 2 * len(row[_TO])
    for value in row:
        if isinstance(value, str) or isinstance(value, bytes):  # noqa: SIM101 this runs for each column of each row
            characters += len(value)
    body = row[_BODY]
    if body is None:
        return _JSON_BYTES + _BYTES_PER_CHARACTER * characters
    size = len(body) if body.isascii() or isinstance(body, bytes) else len(body.encode(errors="replace"))
    return _JSON_BYTES + _BYTES_PER_CHARACTER * (characters - len(body)) + size


def cut_row(row: Sequence[Any]) -> tuple[Any, ...]:
    """Return the row of a message that no page can hold: without its body, and with other texts only if they fit."""
    cut = list(row)
    cut[_BODY] = None
    if json_size(cut) > MAX_PAGE_BYTES:
        separator: Any = TO_SEPARATOR if isinstance(cut[_TO], str) else TO_SEPARATOR.encode()
        cut[_TO] = separator.join(cut[_TO].split(separator, _MAX_SHOWN_RECIPIENTS)[:_MAX_SHOWN_RECIPIENTS])
        cut[_TAGS] = cut[_REASON] = None
    return tuple(cut)


def _tags(text: str) -> tuple[str, ...]:
    """Return the tags in a column; an external writer's value that is no list of texts becomes a single tag."""
    tags = bodies.decode(text)
    return tuple(tags) if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags) else (text,)
