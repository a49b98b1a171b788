"""Params: what each method takes, as models; unknown parameters are refused, and nothing is converted.

The order of the fields is the order of the parameters by position.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, WithJsonSchema

from raven import InputError

MAX_WINDOW = 10_000

Role = Annotated[
    str | None,
    Field(
        description="whose mail: <role>:<session>; may be left out after hello, and on a socket bound to one address"
    ),
]
From = Annotated[
    str | None,
    Field(alias="from", description="the sender; may be left out after hello, and on a socket bound to one address"),
]


class _FailFast(FailFast):
    """Stop at the first wrong element: of a million, one is told. Unlike its base it can stand inside a union."""

    def __hash__(self) -> int:
        return id(type(self))


Texts = Annotated[list[str], _FailFast()]
MessageId = Annotated[int, Field(description="the id of a message")]
Urgency = Literal["blocking", "prompt", "fyi"]


OnlyOf = Annotated[
    str | Texts | None, Field(description="only what is from or to this address, or one of a list of them")
]


class Params(BaseModel):
    """What a method takes: nothing, unless a class below says more."""

    model_config = ConfigDict(extra="forbid", strict=True)


_P = TypeVar("_P", bound=Params)


class Content(Params):
    """One message to be sent."""

    to: Annotated[str | Texts, Field(description="an address, a broadcast pattern, or a list of them")]
    type: Annotated[str, Field(description="what kind of message it is")]
    body: Annotated[Any, Field(description="any JSON value")] = None
    urgency: Urgency = "prompt"
    tags: Annotated[Texts, Field(default_factory=list)]
    correlation_id: str | int | None = None
    reply_to: int | None = None
    task_id: str | int | None = None
    expires_in_s: float | None = None
    delay_s: float | None = None
    dedup_key: str | None = None

    def given(self) -> dict[str, Any]:
        """Return the parameters that were given, by the names that `BusClient.send` has for them."""
        return {name: getattr(self, name) for name in Content.model_fields if name in self.model_fields_set}


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
        found = []
        for number, message in enumerate(self.messages):
            if not isinstance(message, dict):
                raise InputError(f"message {number} of send_many is {_shown(message)}, not an object")
            try:
                found.append(bind(Content, (), message))
            except InputError as error:
                raise InputError(f"message {number} of send_many: {error}") from None
        return found


class Inbox(Params):
    """Whose inbox, and how much of it."""

    role: Role = None
    max: int = 100
    peek: Annotated[bool, Field(description="mark nothing as delivered, register nobody")] = False


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


class Recipients(Params):
    """A message."""

    id: MessageId


class History(Params):
    """A conversation or a task; one of the two."""

    correlation_id: str | int | None = None
    task_id: str | int | None = None
    role: OnlyOf = None
    max: int = 1000


class Subscribe(Params):
    """Whose mail, how it is acked, and how much of it may be on its way."""

    role: Role = None
    ack: Literal["auto", "manual", "ahead"] = "auto"
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
    for name in kwargs:
        if name not in names:
            raise InputError(f"{name[:100]!r} is no parameter here; {_usage(names)}")
    try:
        return model.model_validate(kwargs)
    except ValidationError as error:
        raise InputError(f"{_first(error)}; {_usage(names)}") from None


@cache
def _names(model: type[Params]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _usage(names: list[str]) -> str:
    return f"this method takes {', '.join(names)}" if names else "this method takes nothing"


def _first(error: ValidationError) -> str:
    """Say what is wrong with the first parameter that is."""
    found = error.errors(include_url=False, include_context=False)[0]
    # Behind the name stand places in a list, and names of the members of a union that were tried.
    name = ".".join([str(found["loc"][0]), *(str(part) for part in found["loc"][1:] if isinstance(part, int))])
    if found["type"] == "missing":
        return f"{name!r} is missing"
    return f"{name} {_shown(found['input'])}: {found['msg'].lower()}"


def _shown(value: Any) -> str:
    """Return a value for a message, as short as need be."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
