"""Drafts: messages that were checked and are ready to be stored with their deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from raven import body as bodies
from raven import clock
from raven.address import WILDCARD, Address, parse_targets
from raven.errors import InputError, UnknownAddressError
from raven.message import MAX_ID, TO_SEPARATOR, URGENCIES, MessageRow
from raven.schemas import SchemaRegistry
from raven.transaction import Transaction

MAX_SPAN_S = 100 * 365 * 86400
MAX_RECIPIENTS = 1 << 20
_MAX_TEXT = 1024


class Draft(NamedTuple):
    """One checked message; `store` writes it."""

    targets: dict[str, Address]
    columns: dict[str, Any]
    delay_us: int
    lifetime_us: int | None

    def body(self) -> Any:
        """Return the body as JSON value, as its model has left it."""
        return bodies.decode(self.columns["body"])

    def store(self, tx: Transaction) -> tuple[MessageRow, list[str]]:
        """Write the message and its deliveries in the caller's transaction.

        Returns the message's row and the addresses whose doorbells are to be rung after the commit: none for a
        `dedup_key` that this sender has used before, where it is the first message's row and nothing is written.
        """
        now = clock.now()
        if self.columns["dedup_key"] is not None:
            first = tx.value("find_duplicate", self.columns)
            if first is not None:
                return MessageRow(*tx.rows("message_whole", {"message_id": first})[0]), []
        recipients = self._expand(tx) if WILDCARD in self.columns["to"] else list(self.targets)
        if len(recipients) > MAX_RECIPIENTS:
            raise InputError(f"a message to {len(recipients):,} recipients is over the limit of {MAX_RECIPIENTS:,}")
        expires_at = None if self.lifetime_us is None else now + self.lifetime_us
        self.columns.update(created_at=now, expires_at=expires_at)
        message_id = tx.insert("add_message", self.columns)
        delivery: dict[str, Any] = {
            "message_id": message_id,
            "urgency": self.columns["urgency"],
            "ready_at": now + self.delay_us if self.delay_us else 0,
            "expires_at": expires_at,
        }
        for delivery["place"], delivery["recipient"] in enumerate(recipients):
            tx.insert("add_delivery", delivery)
        row = (message_id, *self.columns.values(), None, 0, 0, None, None)
        return MessageRow(*row), recipients

    def _expand(self, tx: Transaction) -> list[str]:
        sender = self.columns["sender"]
        found: dict[str, None] = {}
        for text, target in self.targets.items():
            if not target.is_pattern:
                found[text] = None
                continue
            matching = [
                row[0] for row in tx.rows("matching_addresses", {"role": target.role, "session": target.session})
            ]
            if not matching:
                raise UnknownAddressError(
                    f"nobody is registered who matches {text!r}: start them first, or register them with "
                    "`raven session init`"
                )
            found.update((address, None) for address in matching if address != sender)
        return list(found)


def make_draft(
    sender: str,
    max_body_bytes: int,
    *,
    to: str | Sequence[str],
    type: str,
    body: Any = None,
    urgency: str = "prompt",
    tags: Sequence[str] = (),
    correlation_id: str | int | None = None,
    reply_to: int | None = None,
    task_id: str | int | None = None,
    expires_in_s: float | None = None,
    delay_s: float | None = None,
    dedup_key: str | None = None,
) -> Draft:
    """Check everything about a message that can be checked without the store; raises InputError naming the value."""
    targets = parse_targets(to)
    _check_text("type", type)
    body = SchemaRegistry.validate(type, body)
    if urgency not in URGENCIES:
        raise InputError(f"urgency {urgency!r} is not known: use {', '.join(URGENCIES)}")
    if reply_to is not None and (
        not isinstance(reply_to, int) or isinstance(reply_to, bool) or not 0 < reply_to <= MAX_ID
    ):
        raise InputError(f"reply_to {reply_to!r} is not the id of a message: give the number that send or inbox showed")
    delay = _span("delay_s", delay_s, least=0)
    # The keys stand in the order of the table's columns, so that a row can be built from the values.
    columns = {
        "sender": sender,
        "to": TO_SEPARATOR.join(targets),
        "type": type,
        "body": bodies.encode(body, max_body_bytes),
        "urgency": URGENCIES.index(urgency),
        "tags": _tags(tags) if tags else None,
        "correlation_id": _optional_text("correlation_id", correlation_id),
        "reply_to": reply_to,
        "task_id": _optional_text("task_id", task_id),
        "dedup_key": _optional_text("dedup_key", dedup_key),
        # Set when it is stored.
        "created_at": None,
        "expires_at": None,
    }
    return Draft(targets, columns, delay or 0, _span("expires_in_s", expires_in_s, least=1e-6))


def make_drafts(sender: str, max_body_bytes: int, messages: Sequence[Mapping[str, Any]]) -> list[Draft]:
    """Check many messages given as dicts of `send`'s parameters; the error says which one is wrong."""
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise InputError(f"messages is {type(messages).__name__}, not a list of dicts of send's parameters")
    drafts = []
    for number, message in enumerate(messages):
        try:
            _check_parameters(message)
            drafts.append(make_draft(sender, max_body_bytes, **message))
        except InputError as error:
            error.args = (f"message {number} of send_many: {error}", *error.args[1:])
            raise
    return drafts


_PARAMETERS = frozenset(make_draft.__annotations__) - {"sender", "max_body_bytes", "return"}


def _check_parameters(message: object) -> None:
    if not isinstance(message, Mapping):
        raise InputError(f"{message!r} is not a dict of send's parameters")
    for name in ("to", "type"):
        if name not in message:
            raise InputError(f"{name!r} is missing")
    for name in message:
        if name not in _PARAMETERS:
            raise InputError(f"{name!r} is no parameter of send: use {', '.join(sorted(_PARAMETERS))}")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT:
        raise InputError(f"{name} {str(value)[:40]!r} must be a text of 1 to {_MAX_TEXT} characters that is not blank")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InputError(f"{name} {value!r} holds a lone surrogate, which UTF-8 cannot hold") from None


def _optional_text(name: str, value: str | int | None) -> str | None:
    if value is None:
        return None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    _check_text(name, text)
    return str(text)


def _tags(tags: Sequence[str]) -> str:
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        raise InputError(f"tags {tags!r} is not a list of texts")
    for tag in tags:
        _check_text("tag", tag)
    return bodies.encode(list(tags))


def _span(name: str, seconds: float | None, least: float) -> int | None:
    if seconds is None:
        return None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not least <= seconds <= MAX_SPAN_S:
        bound = "above 0" if least else "0 or more"
        raise InputError(f"{name} {seconds!r} is not a number of seconds {bound} (and at most 100 years)")
    return clock.to_micros(seconds)
