"""Params: the parameters of each method as models; unknown parameters are refused, and no value is converted.

The order of the fields is the order of the parameters by position. `x-default` in a schema names a default that depends
on the connection; the tables of PROTOCOL.md show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    WithJsonSchema,
    create_model,
)

from raven.errors import InputError
from raven.model.limits import GRACE_S
from raven.model.new_message import OPTION_TYPES, OPTIONS, Option
from raven_rpc.methods.binding import abbreviate_json, bind

MAX_WINDOW = 10_000

_OWN = {"x-default": "own"}
_ALL = {"x-default": "all"}
_MAX_OF_LOG = "at most this many messages; error `limit` if they are larger than 16 MiB in sum"
From = Annotated[str | None, Field(alias="from", description="address of the sender", json_schema_extra=_OWN)]


class _FailFast(FailFast):
    """Stop at the first wrong element, so that an error names one of a million; unlike its base, fit for a union."""

    def __hash__(self) -> int:
        return id(type(self))


Texts = Annotated[list[str], _FailFast()]
MessageId = Annotated[int, Field(description="ID of the message")]
Lease = Annotated[
    int | None,
    Field(
        ge=1, le=2**63 - 1, description="`lease` of the message; default: the lease that this connection got with it"
    ),
]
LeaseSeconds = Annotated[float, Field(description="duration of the lease in seconds, up to 86,400")]
Type = Annotated[str, Field(description="message type; none that begins with `raven.`")]
Body = Annotated[Any, Field(description="any JSON value, at most 4 MiB unless configured otherwise")]
To = Annotated[str | Texts, Field(description="an address, a broadcast pattern, or a list of them")]
OnlyAddress = Annotated[
    str | None,
    Field(description="only deliveries to this address; default on a bound socket: own", json_schema_extra=_ALL),
]
OnlyOf = Annotated[
    str | Texts | None,
    Field(description="only messages from or to this address, or an address of this list", json_schema_extra=_ALL),
]


class Params(BaseModel):
    """No parameters."""

    model_config = ConfigDict(extra="forbid", strict=True)


_P = TypeVar("_P", bound=Params)


class Options(Params):
    """The options of a message."""

    def send_kwargs(self) -> dict[str, Any]:
        """Return the options that the request sets, by the names of the parameters of `BusClient.send`."""
        return {name: getattr(self, name) for name in self.model_fields_set if name not in _NOT_OF_THE_MESSAGE}


_NOT_OF_THE_MESSAGE = frozenset({"from_", "id", "timeout_s"})


def _takes_options(of: str, notes: Mapping[str, str] = {}) -> Callable[[type[_P]], type[_P]]:
    """Add the options of a method to a model: first the options of all methods, then options of single methods.

    `send` takes all of them, in the order of SendOptions. `notes` extends the description of an option.
    """
    names = [name for name, option in OPTIONS.items() if option.not_of != of]
    if of != "send":
        names.sort(key=lambda name: OPTIONS[name].not_of is not None)

    def add(model: type[_P]) -> type[_P]:
        fields: dict[str, Any] = {
            name: _field(OPTION_TYPES[name], OPTIONS[name], notes.get(name, "")) for name in names
        }
        return create_model(model.__name__, __base__=model, __doc__=model.__doc__, __module__=__name__, **fields)

    return add


def _field(type: Any, option: Option, note: str) -> tuple[Any, Any]:
    """Return type and default of a field as pydantic takes them."""
    description = f"{option.description}{note}"
    if type == Sequence[str]:
        return Texts, Field(default_factory=list, description=description)
    return type, Field(option.default, description=description)


@_takes_options(of="send")
class Content(Options):
    """One message to send."""

    to: To
    type: Type
    body: Body = None


class Sender(Params):
    """The sender."""

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
                raise InputError(f"message {number} of send_many is {abbreviate_json(message)}, not an object")
            try:
                contents.append(bind(Content, (), message))
            except InputError as error:
                raise InputError(f"message {number} of send_many: {error}") from None
        return contents


@_takes_options(
    of="reply",
    notes={
        "correlation_id": "; default: the value of the message",
        "task_id": "; default: the value of the message",
        "expires_in_s": "; default for the reply to a `request`: the end of the request",
    },
)
class Reply(Options):
    """The message to reply to, and the reply."""

    id: MessageId
    from_: From = None
    type: Type
    body: Body = None


@_takes_options(of="request")
class Request(Options, Sender):
    """A sender, one message, and the timeout of the reply."""

    to: To
    type: Type
    body: Body = None
    timeout_s: Annotated[float, Field(description="timeout in seconds, up to 7 days")] = 30.0


class Inbox(Params):
    """The address of an inbox, and how many of its messages to return."""

    role: Annotated[str | None, Field(description="address of the inbox", json_schema_extra=_OWN)] = None
    max: Annotated[int, Field(description="at most this many messages, and at most 16 MiB of them")] = 100
    peek: Annotated[bool, Field(description="mark no message as delivered, and register no address")] = False


class Claim(Params):
    """The address to claim for, the number of messages, and the duration of the lease."""

    role: Annotated[str | None, Field(description="address to claim for", json_schema_extra=_OWN)] = None
    max: Annotated[int, Field(description="at most this many messages, and about 16 MiB of them")] = 1
    lease_s: LeaseSeconds = 30.0


class OneMessage(Params):
    """A message."""

    id: MessageId


class Read(OneMessage):
    """A message, and the recipient whose delivery to return."""

    role: Annotated[
        str | None,
        Field(
            description="return the delivery of this recipient; the message as a whole if it is not a recipient",
            json_schema_extra={"x-default": "own, or none"},
        ),
    ] = None


class OfMessage(OneMessage):
    """A message, and the recipient whose delivery to change."""

    role: Annotated[
        str | None,
        Field(description="the recipient", json_schema_extra={"x-default": "own, or the only recipient"}),
    ] = None


class Ack(OfMessage):
    """A message, its recipient, and the lease."""

    subscription: Annotated[
        int | None,
        Field(description="ack only if this subscription of this connection still holds the lease"),
    ] = None
    lease: Lease = None


class Nack(OfMessage):
    """A message, its recipient, the delay, the reason, and the lease."""

    delay_s: Annotated[float, Field(description="seconds before the next delivery")] = 0
    reason: Annotated[str | None, Field(description="reason, shown with the message")] = None
    lease: Lease = None


class Extend(OfMessage):
    """A message, its recipient, the new duration of the lease, and the lease."""

    lease_s: Annotated[float, Field(description="seconds from now until the lease ends, up to 86,400")] = 30.0
    lease: Lease = None


class WaitReceipt(OneMessage):
    """A message, the state that its deliveries must reach, and the timeout."""

    state: Annotated[
        Literal["sent", "delivered", "acked", "expired", "dead"],
        Field(description="`sent`, `delivered`, `acked`, `expired` or `dead`"),
    ] = "acked"
    timeout_s: Annotated[float | None, Field(ge=0, description="timeout in seconds; null: no timeout")] = 30.0


class Thread(OneMessage):
    """A message of the conversation, and a filter."""

    role: OnlyOf = None
    max: Annotated[int, Field(description=_MAX_OF_LOG)] = 1000


class History(Params):
    """A conversation or a task: one of the two."""

    correlation_id: Annotated[
        str | int | None, Field(description="name of the conversation; either this or `task_id` is required")
    ] = None
    task_id: Annotated[str | int | None, Field(description="name of the task")] = None
    role: OnlyOf = None
    max: Annotated[int, Field(description=_MAX_OF_LOG)] = 1000


class Call(Params):
    """One call in a transaction."""

    method: str
    params: dict[str, Any] | list[Any] = {}


class Transaction(Params):
    """Calls, in their order."""

    calls: Annotated[
        list[Any],
        WithJsonSchema({"type": "array", "items": Call.model_json_schema()}),
        Field(description="objects with a `method` and its `params`, up to 1,000"),
    ]


class Dead(Params):
    """A filter of dead deliveries."""

    role: Annotated[
        str | Texts | None,
        Field(
            description="only deliveries to this address, or an address of this list; default on a bound socket: own",
            json_schema_extra=_ALL,
        ),
    ] = None
    max: Annotated[int, Field(description="at most this many messages")] = 100


class Requeue(Params):
    """The dead deliveries to requeue."""

    ids: Annotated[
        list[int],
        _FailFast(),
        Field(default_factory=list, description="IDs of messages; either all of them are requeued or none"),
    ]
    all: Annotated[bool, Field(description="requeue all that have not expired; either this or `ids` is required")] = (
        False
    )
    role: OnlyAddress = None


class PurgeDead(Params):
    """A filter of dead deliveries."""

    role: OnlyAddress = None


class Prune(Params):
    """The minimum age, for how long finished messages stay, and whether unfinished ones go."""

    older_than_s: Annotated[float, Field(description="minimum age in seconds, counted from the send")]
    dry_run: Annotated[bool, Field(description="only count, delete nothing")] = False
    grace_s: Annotated[float, Field(description="keep what was finished less than so many seconds ago")] = GRACE_S
    unfinished: Annotated[bool, Field(description="let unfinished messages of that age expire first")] = False


class Forget(Params):
    """The addresses or patterns."""

    role: Annotated[str | list[str], Field(description="address or pattern, or a list of them")]


class Stats(Params):
    """The scope of the figures."""

    full: Annotated[bool, Field(description="count finished messages too, which takes longer the more there are")] = (
        True
    )


def _rename_ack(ack: object) -> object:
    """Return "prefetch" for "ahead", the name of that mode before version 0.4."""
    return "prefetch" if ack == "ahead" else ack


class Subscribe(Params):
    """The address to receive for, the mode of its acks, and the window."""

    role: Annotated[str | None, Field(description="address to receive for", json_schema_extra=_OWN)] = None
    ack: Annotated[
        Literal["auto", "manual", "prefetch"],
        BeforeValidator(_rename_ack),
        Field(description="`auto`: acked before the push; `manual`: ack after use; `prefetch`: ack before use"),
    ] = "auto"
    window: Annotated[
        int,
        Field(ge=1, le=MAX_WINDOW, description="at most this many pushed messages unread or unacked, up to 10,000"),
    ] = 64


class OneSubscription(Params):
    """A subscription of this connection."""

    subscription: Annotated[int, Field(description="number of the subscription")]


class Tail(Params):
    """The first message, and a filter."""

    from_id: Annotated[int, Field(description="ID of the first message; only new ones: `last_id` plus one")] = 1
    role: OnlyOf = None
    follow: Annotated[bool, Field(description="continue with new messages; otherwise stop after the newest")] = True


class Peers(Params):
    """A session."""

    session: Annotated[str | None, Field(description="only addresses of this session", json_schema_extra=_ALL)] = None


class Register(Params):
    """One address or several."""

    role: Annotated[str | Texts, Field(description="an address, or a list of addresses")]


class Hello(Params):
    """The address that this connection acts as from now on."""

    as_: Annotated[str | None, Field(alias="as", description="the address; null changes nothing")] = None
