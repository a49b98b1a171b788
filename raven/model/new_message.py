"""New messages: the options of `send`, and checked messages that the outbox can insert."""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, cast

from raven.errors import InputError, abbreviate
from raven.model import body as bodies
from raven.model.address import Address, parse_targets, parse_text
from raven.model.limits import (
    DEFAULT_MAX_ATTEMPTS,
    MAX_ID,
    MAX_REQUEST_S,
    RESERVED_PREFIX,
    check_max_attempts,
    check_span,
    is_integer,
    is_number,
    refuse_reserved,
)
from raven.model.message import TO_SEPARATOR, URGENCIES, MessageRow, Report, Urgency
from raven.model.schemas import SchemaRegistry

_MAX_TEXT = 1024
_LARGEST = 10**_MAX_TEXT


class NewMessage(NamedTuple):
    """One checked message that the outbox can insert; `body` is the JSON value after its pydantic model.

    `row` has the columns that the sender chooses. The insert adds the id, the times and the deliveries.
    """

    targets: dict[str, Address]
    row: MessageRow
    body: Any
    delay_us: int
    lifetime_us: int | None
    max_attempts: int

    @classmethod
    def from_row(cls, row: MessageRow) -> "NewMessage":
        """Build one of raven's own messages, from a row that has a single address in `to`."""
        role, _, session = row.to.partition(":")
        return cls({row.to: Address(role, session)}, row, None, 0, None, DEFAULT_MAX_ATTEMPTS)


class Option:
    """One option of a message: its check, and its texts for the socket and the command line.

    `check` takes the option's name and value; it returns the column's value or raises InputError. `default` is the
    value of an omitted option. The method `not_of` does not take the option. The command line shows `help`, `metavar`
    and `least`, the smallest number; `rpc.discover` shows `description`.
    """

    __slots__ = ("check", "default", "description", "help", "least", "metavar", "not_of")

    def __init__(
        self,
        check: Callable[[str, Any], Any],
        help: str | None = None,
        *,
        metavar: str | None = None,
        least: int | None = None,
        default: Any = None,
        not_of: Literal["request", "reply"] | None = None,
        description: str | None = None,
    ) -> None:
        self.check = check
        self.help = help
        self.metavar = metavar
        self.least = least
        self.default = default
        self.not_of = not_of
        self.description = description


def check_optional_text(name: str, value: str | int | None) -> str | None:
    """Return a text or a number as text, or None; raises InputError for blank text and for other types."""
    if value is None:
        return None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST else value
    _check_text(name, text)
    return str(text)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT:
        raise InputError(f"{name} {abbreviate(value)} must be a text of 1 to {_MAX_TEXT} characters that is not blank")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"{name} {abbreviate(value)} contains a lone surrogate, which UTF-8 cannot encode"
            ) from None


def _check_urgency(name: str, value: Any) -> int:
    if value not in URGENCIES:
        raise InputError(f"{name} {abbreviate(value)} is not known: use {', '.join(URGENCIES)}")
    return URGENCIES.index(value)


def _check_tags(name: str, value: Any) -> str | None:
    if not value:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InputError(f"{name} {abbreviate(value)} is not a list of texts")
    for tag in value:
        _check_text("tag", tag)
    return bodies.encode(list(value))


def _check_reply_to(name: str, value: Any) -> int | None:
    if value is not None and not is_integer(value, 1, MAX_ID):
        raise InputError(
            f"{name} {abbreviate(value)} is not the id of a message: give the number that send or inbox showed"
        )
    return cast("int | None", value)


def _check_report(name: str, value: Any) -> Report | None:
    if value not in (None, "undelivered"):
        raise InputError(f"{name} {abbreviate(value)} is not known: use 'undelivered', or omit it")
    return cast("Report | None", value)


def _check_attempts(name: str, value: Any) -> int | None:
    check_max_attempts(value)
    return cast("int | None", value)


def _check_delay(name: str, value: Any) -> int | None:
    return check_span(name, value, least=0)


def _check_lifetime(name: str, value: Any) -> int | None:
    return check_span(name, value, least=1e-6)


class SendOptions(TypedDict, total=False):
    """The keyword arguments of every `send` besides `to`, `type` and `body`.

    This is their only definition: the parameters of the socket's methods and the options of the command line are
    generated from it, in this order. `build` handles each option that is not a column of MessageRow.
    """

    urgency: Annotated[
        Urgency,
        Option(
            _check_urgency,
            "Order of delivery: blocking first, fyi last.",
            default="prompt",
            description="order of delivery: `blocking`, `prompt`, then `fyi`",
        ),
    ]
    tags: Annotated[Sequence[str], Option(_check_tags, "Tag; repeatable.", default=(), description="labels")]
    correlation_id: Annotated[
        str | int | None,
        Option(
            check_optional_text,
            "Correlation ID of the conversation.",
            metavar="TEXT",
            description="name of the conversation, for `history`",
        ),
    ]
    reply_to: Annotated[
        int | None,
        Option(
            _check_reply_to,
            "Message that this one replies to.",
            metavar="ID",
            not_of="reply",
            description="ID of the message that this one replies to",
        ),
    ]
    task_id: Annotated[
        str | int | None,
        Option(check_optional_text, "Task ID.", metavar="TEXT", description="name of the task, for `history`"),
    ]
    expires_in_s: Annotated[
        float | None,
        Option(
            _check_lifetime,
            "Expire unclaimed deliveries after this time (30s, 5m, 2h).",
            not_of="request",
            description="seconds after which an unclaimed delivery expires",
        ),
    ]
    delay_s: Annotated[
        float | None,
        Option(_check_delay, "Delay before the first delivery.", description="seconds before the first delivery"),
    ]
    dedup_key: Annotated[
        str | None,
        Option(
            check_optional_text,
            "Send nothing if this sender has already used the key.",
            metavar="TEXT",
            not_of="request",
            description="if this sender has already used the key, store nothing and return the first message: "
            "a send with a key can be repeated",
        ),
    ]
    report: Annotated[
        Report | None,
        Option(
            _check_report,
            "Notify the sender about each delivery that expires or dies.",
            not_of="request",
            description="`undelivered`: for each delivery that dies or expires, send the sender a message of type "
            "`raven.undelivered` with the recipient, the state and the reason",
        ),
    ]
    max_attempts: Annotated[
        int | None,
        Option(
            _check_attempts,
            "Attempts until a delivery is dead (else as in raven.yaml).",
            metavar="N",
            least=1,
            description="attempts until a delivery is dead; 5 unless configured otherwise",
        ),
    ]


OPTIONS: dict[str, Option] = {name: hint.__metadata__[0] for name, hint in SendOptions.__annotations__.items()}
OPTION_TYPES: dict[str, Any] = {name: hint.__origin__ for name, hint in SendOptions.__annotations__.items()}
_PARAMETERS = frozenset({"to", "type", "body", *OPTIONS})


def build(
    sender: str,
    max_body_bytes: int,
    to: str | Sequence[str],
    type: str,
    body: Any,
    options: SendOptions,
    *,
    reply_address: str | None = None,
    default_attempts: int = DEFAULT_MAX_ATTEMPTS,
) -> NewMessage:
    """Check one message as far as possible without the store; raises InputError that names the value."""
    if options and not OPTIONS.keys() >= options.keys():
        check_options(options)
    targets = {to: parse_text(to)} if to.__class__ is str else parse_targets(to)
    _check_text("type", type)
    if type[:6].lower() == RESERVED_PREFIX:
        refuse_reserved(type)
    if SchemaRegistry.is_in_use or body.__class__ not in bodies.PLAIN:
        body = SchemaRegistry.validate(type, body)
    checked: dict[str, Any] = {}
    if options:
        values: Mapping[str, Any] = options
        checked = {name: one.check(name, values[name]) for name, one in OPTIONS.items() if name in values}
    delay_us, lifetime_us = checked.pop("delay_s", None) or 0, checked.pop("expires_in_s", None)
    attempts = checked.pop("max_attempts", None) or default_attempts
    text = bodies.encode(body, max_body_bytes)
    row = MessageRow(0, sender, TO_SEPARATOR.join(targets), type, text, reply_address=reply_address, **checked)
    return NewMessage(targets, row, bodies.copy(body, text), delay_us, lifetime_us, attempts)


def build_many(
    sender: str,
    max_body_bytes: int,
    messages: Sequence[Mapping[str, Any]],
    default_attempts: int = DEFAULT_MAX_ATTEMPTS,
) -> list[NewMessage]:
    """Check many messages, dicts of `send`'s parameters; the InputError has the index of the wrong one."""
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise InputError(f"messages is {type(messages).__name__}, not a list of dicts of send's parameters")
    new_messages = []
    for number, message in enumerate(messages):
        try:
            _check_parameters(message)
            options: Any = {name: value for name, value in message.items() if name in OPTIONS}
            new_messages.append(
                build(
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
    return new_messages


def _check_parameters(message: object) -> None:
    if not isinstance(message, dict | Mapping):
        raise InputError(f"{abbreviate(message)} is not a dict of send's parameters")
    for name in ("to", "type"):
        if name not in message:
            raise InputError(f"{abbreviate(name)} is missing")
    if not _PARAMETERS.issuperset(message):
        [name, *_] = (name for name in message if name not in _PARAMETERS)
        raise InputError(f"send has no parameter {abbreviate(name)}: use {', '.join(sorted(_PARAMETERS))}")


def check_request(timeout_s: object, options: Mapping[str, Any]) -> None:
    """Raise InputError for a bad timeout, and for an option that a request does not take."""
    for name, option in OPTIONS.items():
        if option.not_of == "request" and options.get(name) is not None:
            raise InputError(f"a request has no option {name}: it is sent once, lives for timeout_s and then raises")
    if not is_number(timeout_s, 0, MAX_REQUEST_S, above=True):
        raise InputError(f"timeout_s {abbreviate(timeout_s)} is out of range: use more than 0 seconds, up to 7 days")


def check_options(options: Iterable[str]) -> None:
    """Raise TypeError, as Python does, for keyword arguments that `send` does not have."""
    for name in options:
        if name not in _PARAMETERS:
            raise TypeError(f"send has no parameter {abbreviate(name)}: use {', '.join(sorted(_PARAMETERS))}")
