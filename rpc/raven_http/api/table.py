"""Table: the one table of all routes that call a method, with the method, its parameters and its result."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from raven.model.message import Message
from raven.model.status import Receipt
from raven_rpc.methods import params
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Method, Work
from raven_rpc.methods.table import METHODS

_NONE: Mapping[str, Any] = MappingProxyType({})
# The weight of reading one message, whose body may be long.
_READ_WEIGHT = 100


class Route(NamedTuple):
    """One route: it calls a method with the parameters of the query, or of a JSON body, and of the path.

    `fixed` are parameters that the route sets itself, and `hidden` the ones that need a connection of their own: a
    request may give neither. `caller` names the parameter that says whose address the call is for; a bridge that is
    bound to one address needs none.
    """

    verb: Literal["GET", "POST"]
    path: str
    method: Method
    caller: str | None = None
    fixed: Mapping[str, Any] = _NONE
    hidden: frozenset[str] = frozenset()

    @property
    def is_write(self) -> bool:
        """Whether the parameters come as a JSON body; a route without one changes nothing."""
        return self.verb == "POST"

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that a request may give in its query or its body, in their order."""
        names = [field.alias or name for name, field in self.method.params.model_fields.items()]
        others = {*self.fixed, *self.hidden, *(("id",) if self.takes_id else ())}
        return tuple(name for name in names if name not in others)

    @property
    def takes_id(self) -> bool:
        """Whether the path ends with the id of a message."""
        return self.path.endswith("/{id}")


def _message(context: Context, args: params.Read) -> Work:
    """Return one message, as one address sees it or as a whole, with the receipts of all its deliveries."""
    role = context.address_or_none(args.role)

    def read() -> tuple[Message, list[Receipt]]:
        return context.read_as(context.reader, args.id, role), context.reader.receipts(args.id)

    return Work("read", read, _with_receipts, weight=_READ_WEIGHT, is_page=True)


def _with_receipts(found: tuple[Message, list[Receipt]]) -> dict[str, Any]:
    message, receipts = found
    return {**message.as_dict(), "receipts": [receipt.as_dict() for receipt in receipts]}


_SUBSCRIPTION = frozenset({"subscription"})
# The routes that are called most come first: they are compared in this order.
ROUTES: tuple[Route, ...] = (
    Route("POST", "/send", METHODS["send"], "from"),
    Route("POST", "/claim", METHODS["claim"], "role"),
    Route("POST", "/ack", METHODS["ack"], hidden=_SUBSCRIPTION),
    Route("GET", "/inbox", METHODS["inbox"], "role", MappingProxyType({"peek": True})),
    Route("GET", "/message/{id}", Method(params.Read, _message, "MessageWithReceipts")),
    Route("POST", "/reply/{id}", METHODS["reply"], "from"),
    Route("POST", "/nack", METHODS["nack"]),
    Route("POST", "/extend", METHODS["extend"]),
    Route("POST", "/requeue", METHODS["requeue"]),
    Route("GET", "/thread/{id}", METHODS["thread"]),
    Route("GET", "/history", METHODS["history"]),
    Route("GET", "/receipts/{id}", METHODS["receipts"]),
    Route("GET", "/dead", METHODS["dead"]),
    Route("GET", "/peers", METHODS["peers"]),
    Route("GET", "/stats", METHODS["stats"]),
)
