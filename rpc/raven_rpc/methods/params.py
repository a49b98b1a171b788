"""Params: what each method takes, as models; unknown parameters are refused, and nothing is converted.

The order of the fields is the order of the parameters by position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from raven.errors import InputError
from raven.model.new_message import OPTION_TYPES, OPTIONS, Option

MAX_WINDOW = 10_000

_UNLESS_KNOWN = "may be left out after hello, and on a socket bound to one address"
Role = Annotated[str | None, Field(description=f"whose mail: <role>:<session>; {_UNLESS_KNOWN}")]
From = Annotated[str | None, Field(alias="from", description=f"the sender; {_UNLESS_KNOWN}")]


class _FailFast(FailFast):
    """Stop at the first wrong element: of a million, one is told. Unlike its base it can stand inside a union."""

    def __hash__(self) -> int:
        return id(type(self))


Texts = Annotated[list[str], _FailFast()]
MessageId = Annotated[int, Field(description="the id of a message")]
Lease = Annotated[int | None, Field(ge=1, le=2**63 - 1, description="else the one that this connection had it under")]
OnlyAddress = Annotated[str | None, Field(description="only deliveries to this address")]
OnlyOf = Annotated[
    str | Texts | None, Field(description="only what is from or to this address, or one of a list of them")
]


class Params(BaseModel):
    """What a method takes: nothing, unless a class below says more."""

    model_config = ConfigDict(extra="forbid", strict=True)


_P = TypeVar("_P", bound=Params)


class Options(Params):
    """What a message may be sent with."""

    def send_kwargs(self) -> dict[str, Any]:
        """Return the parameters that were given, by the names that `BusClient.send` has for them."""
        return {name: getattr(self, name) for name in self.model_fields_set if name not in _NOT_OF_THE_MESSAGE}


_NOT_OF_THE_MESSAGE = frozenset({"from_", "id", "timeout_s"})


def _takes_options(of: str) -> Callable[[type[_P]], type[_P]]:
    """Give a class the options of a method as further fields: first those of every method, then its own.

    `send` takes them all, in the order of SendOptions.
    """
    names = [name for name, option in OPTIONS.items() if option.not_of != of]
    if of != "send":
        names.sort(key=lambda name: OPTIONS[name].not_of is not None)

    def add(model: type[_P]) -> type[_P]:
        fields: dict[str, Any] = {name: _field(OPTION_TYPES[name], OPTIONS[name]) for name in names}
        return create_model(model.__name__, __base__=model, __doc__=model.__doc__, __module__=__name__, **fields)

    return add


def _field(type: Any, option: Option) -> tuple[Any, Any]:
    """Return type and default of a field as pydantic takes them; a list that is left out has no default to show."""
    if type == Sequence[str]:
        return Texts, Field(default_factory=list)
    return type, Field(option.default, description=option.description)


@_takes_options(of="send")
class Content(Options):
    """One message to be sent."""

    to: Annotated[str | Texts, Field(description="an address, a broadcast pattern, or a list of them")]
    type: Annotated[str, Field(description="what kind of message it is")]
    body: Annotated[Any, Field(description="any JSON value")] = None


class Sender(Params):
    """Who sends."""

    from_: From = None


class Send(Content, Sender):
    """A sender and one message."""


class SendMany(Sender):
    """A sender and messages."""

    messages: Annotated[
        list[Any],
        WithJsonSchema({"type": "array", "items": Content.model_json_schema()}),
        Field(description="objects with the parameters of `send`, without `from`"),
    ]

    def contents(self) -> list[Content]:
        """Check the messages; raises InputError that says which one is wrong."""
        contents = []
        for number, message in enumerate(self.messages):
            if not isinstance(message, dict):
                raise InputError(f"message {number} of send_many is {abbreviate(message)}, not an object")
            try:
                contents.append(bind(Content, (), message))
            except InputError as error:
                raise InputError(f"message {number} of send_many: {error}") from None
        return contents


@_takes_options(of="reply")
class Reply(Options):
    """A message, and the answer to it; its correlation and task ids are those of the message unless given."""

    id: MessageId
    from_: From = None
    type: Annotated[str, Field(description="what kind of message the answer is")]
    body: Annotated[Any, Field(description="any JSON value")] = None


@_takes_options(of="request")
class Request(Options, Sender):
    """A sender, one message, and how long to wait for the answer."""

    to: Annotated[str | Texts, Field(description="an address, a broadcast pattern, or a list of them")]
    type: Annotated[str, Field(description="what kind of message it is")]
    body: Annotated[Any, Field(description="any JSON value")] = None
    timeout_s: Annotated[float, Field(description="how long to wait for the answer")] = 30.0


class Inbox(Params):
    """Whose inbox, and how much of it."""

    role: Role = None
    max: int = 100
    peek: Annotated[bool, Field(description="mark nothing as delivered, register nobody")] = False


class Claim(Params):
    """Whose mail, how much of it, and for how long."""

    role: Role = None
    max: int = 1
    lease_s: float = 30.0


class OfMessage(Params):
    """A message, as one address has it."""

    id: MessageId
    role: Role = None


class Ack(OfMessage):
    """A message, and who acks it."""

    subscription: Annotated[
        int | None,
        Field(description="ack it only if this subscription of this connection still has it leased"),
    ] = None
    lease: Lease = None


class Nack(OfMessage):
    """A message, who gives it back, from when on others may have it, and why."""

    delay_s: float = 0
    reason: str | None = None
    lease: Lease = None


class Extend(OfMessage):
    """A message, and for how long from now it stays leased."""

    lease_s: float = 30.0
    lease: Lease = None


class OneMessage(Params):
    """A message."""

    id: MessageId


class WaitReceipt(OneMessage):
    """A message, how far its deliveries must have come, and how long to wait."""

    state: Literal["sent", "delivered", "acked", "expired", "dead"] = "acked"
    timeout_s: Annotated[float | None, Field(ge=0, description="null waits for as long as it takes")] = 30.0


class Thread(OneMessage):
    """A message of the conversation."""

    role: OnlyOf = None
    max: int = 1000


class History(Params):
    """A conversation or a task; one of the two."""

    correlation_id: str | int | None = None
    task_id: str | int | None = None
    role: OnlyOf = None
    max: int = 1000


class Call(Params):
    """One call in a transaction."""

    method: str
    params: dict[str, Any] | list[Any] = {}


class Transaction(Params):
    """Calls, in their order."""

    calls: Annotated[
        list[Any],
        WithJsonSchema({"type": "array", "items": Call.model_json_schema()}),
        Field(description="objects with a method and its params"),
    ]


class Dead(Params):
    """Whose dead, and how many of them."""

    role: OnlyOf = None
    max: int = 100


class Requeue(Params):
    """Which dead."""

    ids: Annotated[list[int], _FailFast(), Field(default_factory=list, description="ids of messages")]
    all: Annotated[bool, Field(description="all there are")] = False
    role: OnlyAddress = None


class PurgeDead(Params):
    """Whose dead."""

    role: OnlyAddress = None


class Prune(Params):
    """How old, and whether only to count."""

    older_than_s: float
    dry_run: bool = False


class Stats(Params):
    """How much of the bus is counted."""

    full: Annotated[bool, Field(description="what is finished, too, which takes longer the more there is")] = True


def _rename_ack(ack: object) -> object:
    """Return "prefetch" for "ahead", the name of that mode before version 0.4."""
    return "prefetch" if ack == "ahead" else ack


class Subscribe(Params):
    """Whose mail, how it is acked, and how much of it may be on its way."""

    role: Role = None
    ack: Annotated[Literal["auto", "manual", "prefetch"], BeforeValidator(_rename_ack)] = "auto"
    window: Annotated[
        int, Field(ge=1, le=MAX_WINDOW, description="at most so many messages that were pushed and not read or acked")
    ] = 64


class Unsubscribe(Params):
    """A subscription of this connection."""

    subscription: int


class Tail(Params):
    """Where to begin, and whose messages."""

    from_id: int = 1
    role: OnlyOf = None
    follow: Annotated[bool, Field(description="go on with new messages; else end at the newest")] = True


class Peers(Params):
    """Which session; all where none is given."""

    session: str | None = None


class Register(Params):
    """An address, or a list of them."""

    role: str | Texts


class Hello(Params):
    """As whom this connection acts from now on; nothing changes where it is left out."""

    as_: Annotated[str | None, Field(alias="as", description="<role>:<session>")] = None


def bind(model: type[_P], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _P:
    """Check the parameters of a call, by position or by name; raises InputError that names what is wrong."""
    names = _names(model)
    if args:
        if len(args) > len(names):
            raise InputError(f"{len(args)} parameters are too many: {_usage(names)}")
        kwargs = dict(zip(names, args, strict=False))
    try:
        return model.model_validate(kwargs)
    except ValidationError as error:
        for name in kwargs:
            if name not in names:
                raise InputError(f"{name[:100]!r} is no parameter here; {_usage(names)}") from None
        problem = error.errors(include_url=False, include_context=False)[0]
        raise InputError(f"{_describe_error(problem)}; {_usage(names)}") from None


@cache
def _names(model: type[Params]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _usage(names: Sequence[str]) -> str:
    """Say what a method takes."""
    return f"this method takes {', '.join(names)}" if names else "this method takes nothing"


def _describe_error(problem: Mapping[str, Any]) -> str:
    """Describe a wrong parameter in the words of pydantic."""
    # After the name, `loc` has indexes of a list, and the names of the members of a union that were tried.
    name = ".".join([str(problem["loc"][0]), *(str(part) for part in problem["loc"][1:] if isinstance(part, int))])
    if problem["type"] == "missing":
        return f"{name!r} is missing"
    return f"{name} {abbreviate(problem['input'])}: {problem['msg'].lower()}"


def abbreviate(value: Any) -> str:
    """Return a value for an error text, in at most 60 characters."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
