"""Drafts: messages that were checked and are ready to be stored with their deliveries."""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from raven.errors import InputError
from raven.model import body as bodies
from raven.model.address import Address, parse_targets, parse_text
from raven.model.limits import (
    DEFAULT_MAX_ATTEMPTS,
    MAX_ID,
    MAX_REQUEST_S,
    check_max_attempts,
    check_span,
    is_integer,
    is_number,
)
from raven.model.message import TO_SEPARATOR, URGENCIES, MessageRow, Report, Urgency
from raven.model.schemas import SchemaRegistry

_MAX_TEXT = 1024


class Draft(NamedTuple):
    """One checked message, which `posting` stores; `body` is the JSON value, as its model has left it.

    `content` has the columns that a sender gives; the id, the times and the deliveries are still to come.
    """

    targets: dict[str, Address]
    content: MessageRow
    body: Any
    delay_us: int
    lifetime_us: int | None
    max_attempts: int

    @classmethod
    def of(cls, content: MessageRow) -> "Draft":
        """Make a draft of raven's own to one address."""
        role, _, session = content.to.partition(":")
        return cls({content.to: Address(role, session)}, content, None, 0, None, DEFAULT_MAX_ATTEMPTS)


class SendOptions(TypedDict, total=False):
    """What a message may be sent with besides `to`, `type` and `body`: the keyword arguments of every `send`.

    Here alone they are written down; `make_draft` has the check of each.
    """

    urgency: Urgency
    tags: Sequence[str]
    correlation_id: str | int | None
    reply_to: int | None
    task_id: str | int | None
    expires_in_s: float | None
    delay_s: float | None
    dedup_key: str | None
    report: Report | None
    max_attempts: int | None


def make_draft(
    sender: str,
    max_body_bytes: int,
    to: str | Sequence[str],
    type: str,
    body: Any,
    options: SendOptions,
    *,
    reply_address: str | None = None,
    default_attempts: int = DEFAULT_MAX_ATTEMPTS,
) -> Draft:
    """Check everything about a message that can be checked without the store; raises InputError naming the value."""
    if options and not OPTIONS.issuperset(options):
        check_options(options)
    targets = {to: parse_text(to)} if to.__class__ is str else parse_targets(to)
    _check_text("type", type)
    if SchemaRegistry.is_in_use or body.__class__ not in bodies.PLAIN:
        body = SchemaRegistry.validate(type, body)
    urgency, tags, reply_to = options.get("urgency", "prompt"), options.get("tags", ()), options.get("reply_to")
    report, max_attempts = options.get("report"), options.get("max_attempts")
    if urgency not in URGENCIES:
        raise InputError(f"urgency {urgency!r} is not known: use {', '.join(URGENCIES)}")
    if reply_to is not None and not is_integer(reply_to, 1, MAX_ID):
        raise InputError(f"reply_to {reply_to!r} is not the id of a message: give the number that send or inbox showed")
    if report not in (None, "undelivered"):
        raise InputError(f"report {report!r} is not known: use 'undelivered', or leave it out")
    if max_attempts is not None:
        check_max_attempts(max_attempts)
    delay_us = check_span("delay_s", options.get("delay_s"), least=0) if "delay_s" in options else None
    text = bodies.encode(body, max_body_bytes)
    content = MessageRow(
        0,
        sender,
        TO_SEPARATOR.join(targets),
        type,
        text,
        urgency=URGENCIES.index(urgency),
        tags=_tags(tags) if tags else None,
        reply_to=reply_to,
        reply_address=reply_address,
        report=report,
        **(_texts(options) if options else {}),
    )
    lifetime_us = (
        check_span("expires_in_s", options.get("expires_in_s"), least=1e-6) if "expires_in_s" in options else None
    )
    attempts = default_attempts if max_attempts is None else max_attempts
    return Draft(targets, content, bodies.copy(body, text), delay_us or 0, lifetime_us, attempts)


def make_drafts(
    sender: str,
    max_body_bytes: int,
    messages: Sequence[Mapping[str, Any]],
    default_attempts: int = DEFAULT_MAX_ATTEMPTS,
) -> list[Draft]:
    """Check many messages given as dicts of `send`'s parameters; the error says which one is wrong."""
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise InputError(f"messages is {type(messages).__name__}, not a list of dicts of send's parameters")
    drafts = []
    for number, message in enumerate(messages):
        try:
            _check_parameters(message)
            options: Any = {name: value for name, value in message.items() if name in OPTIONS}
            drafts.append(
                make_draft(
                    sender,
                    max_body_bytes,
                    message["to"],
                    message["type"],
                    message.get("body"),
                    options,
                    default_attempts=default_attempts,
                )
            )
        except InputError as error:
            error.args = (f"message {number} of send_many: {error}", *error.args[1:])
            raise
    return drafts


OPTIONS = frozenset(SendOptions.__annotations__)
# Columns that hold what their option says, as a text.
_TEXTS = ("correlation_id", "task_id", "dedup_key")
_PARAMETERS = OPTIONS | {"to", "type", "body"}


def _check_parameters(message: object) -> None:
    if not isinstance(message, dict | Mapping):
        raise InputError(f"{message!r} is not a dict of send's parameters")
    for name in ("to", "type"):
        if name not in message:
            raise InputError(f"{name!r} is missing")
    if not _PARAMETERS.issuperset(message):
        [name, *_] = (name for name in message if name not in _PARAMETERS)
        raise InputError(f"{name!r} is no parameter of send: use {', '.join(sorted(_PARAMETERS))}")


def check_request(timeout_s: object, options: Mapping[str, Any]) -> None:
    """Refuse what no request can be made with; raises InputError."""
    for name in ("expires_in_s", "dedup_key", "report"):
        if options.get(name) is not None:
            raise InputError(f"{name} is no option of a request, which is asked once, for timeout_s, and then raises")
    if not is_number(timeout_s, 0, MAX_REQUEST_S, above=True):
        raise InputError(f"timeout_s {timeout_s!r} is out of range: use more than 0 seconds, up to 7 days")


def check_options(options: Iterable[str]) -> None:
    """Refuse keyword arguments that `send` does not have, as Python does: TypeError."""
    for name in options:
        if name not in _PARAMETERS:
            raise TypeError(f"send has no parameter {name!r}: use {', '.join(sorted(_PARAMETERS))}")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT:
        raise InputError(f"{name} {str(value)[:40]!r} must be a text of 1 to {_MAX_TEXT} characters that is not blank")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InputError(f"{name} {value!r} holds a lone surrogate, which UTF-8 cannot hold") from None


def _texts(options: Any) -> dict[str, Any]:
    return {name: check_optional_text(name, options[name]) for name in _TEXTS if name in options}


def check_optional_text(name: str, value: str | int | None) -> str | None:
    """Return a text, or a number as a text, or None; raises InputError for anything else, and for what is blank."""
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
