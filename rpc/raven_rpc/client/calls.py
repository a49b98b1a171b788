"""Calls: the methods of the server with their parameters, checked as `BusClient` checks them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from raven.errors import InputError, abbreviate
from raven.model.leases import LeaseTracker
from raven.model.limits import check_id, check_lease, check_max
from raven.model.message import Message, State
from raven.model.new_message import NewMessage, SendOptions, build, build_many, check_request

if TYPE_CHECKING:
    from raven.model.status import Forgotten, Pruned, Receipt

_T = TypeVar("_T")
# The server checks the sender, the size limit and the address of a reply: these values only satisfy the client's check.
PLACEHOLDER_ADDRESS = "placeholder:client"
UNLIMITED = 1 << 62


class Call(NamedTuple, Generic[_T]):
    """A method with its parameters, the function that reads its result, and whether it is idempotent."""

    method: str
    params: dict[str, Any]
    read: Callable[[Any], _T]
    is_idempotent: bool = False

    def leased(self) -> tuple[int, int | None]:
        """Return the message of an `ack`, `nack` or `extend`, and its lease, if that is known."""
        return self.params["id"], self.params.get("lease")


def send(address: str | None, to: str | Sequence[str], type: str, body: Any, options: SendOptions) -> Call[Message]:
    """Return the call for `send`; raises InputError."""
    message = build(address or PLACEHOLDER_ADDRESS, UNLIMITED, to, type, body, options)
    content = _content({**options, "to": to, "type": type}, message)
    return Call("send", _from(address, content), Message.from_dict, bool(options.get("dedup_key")))


def send_many(address: str | None, messages: Sequence[Mapping[str, Any]]) -> Call[list[Message]]:
    """Return the call for `send_many`; raises InputError."""
    checked = build_many(address or PLACEHOLDER_ADDRESS, UNLIMITED, messages)
    contents = [_content(params, message) for params, message in zip(messages, checked, strict=True)]
    is_idempotent = all(content.get("dedup_key") for content in contents)
    return Call("send_many", _from(address, {"messages": contents}), messages_of, is_idempotent)


def reply(address: str | None, msg: Message | int, type: str, body: Any, options: dict[str, Any]) -> Call[Message]:
    """Return the call for `reply`; raises InputError."""
    if not isinstance(msg, Message | int) or isinstance(msg, bool):
        raise InputError(
            f"{abbreviate(msg)} is neither a message nor an id: give a message that inbox or claim returned"
        )
    id = msg if isinstance(msg, int) else msg.id
    check_id(id)
    params: Any = {name: value for name, value in options.items() if name != "reply_to"}
    message = build(address or PLACEHOLDER_ADDRESS, UNLIMITED, PLACEHOLDER_ADDRESS, type, body, params)
    content = {**_content({**params, "type": type}, message), "id": id}
    return Call("reply", _from(address, content), Message.from_dict, bool(params.get("dedup_key")))


def request(
    address: str | None, to: str | Sequence[str], type: str, body: Any, timeout_s: float, options: SendOptions
) -> Call[Message]:
    """Return the call for `request`, without its `timeout_s`; raises InputError."""
    check_request(timeout_s, options)
    return send(address, to, type, body, options)._replace(method="request")


def claim(address: str | None, max: int, lease_s: float) -> Call[list[Message]]:
    """Return the call for `claim`; raises InputError."""
    check_max(max)
    check_lease(lease_s)
    return Call("claim", without_none({"role": address, "max": max, "lease_s": lease_s}), messages_of)


def ack(address: str | None, leases: LeaseTracker, id: int, lease: int | None) -> Call[None]:
    """Return the call for `ack`; raises InputError."""
    params = {"id": id, "role": address, "lease": _lease(leases, id, lease)}
    return Call("ack", without_none(params), lambda _: None, True)


def nack(
    address: str | None, leases: LeaseTracker, id: int, delay_s: float, reason: str | None, lease: int | None
) -> Call[State]:
    """Return the call for `nack`; raises InputError."""
    token = _lease(leases, id, lease)
    params = {"id": id, "role": address, "delay_s": delay_s, "reason": reason, "lease": token}
    return Call("nack", without_none(params), lambda result: result["state"])


def extend(address: str | None, leases: LeaseTracker, id: int, lease_s: float, lease: int | None) -> Call[None]:
    """Return the call for `extend`; raises InputError."""
    token = _lease(leases, id, lease)
    check_lease(lease_s)
    params = {"id": id, "role": address, "lease_s": lease_s, "lease": token}
    return Call("extend", without_none(params), lambda _: None, True)


def messages_of(result: Any) -> list[Message]:
    """Return the messages that a result holds."""
    return [Message.from_dict(message) for message in result["messages"]]


def without_none(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are not None; raises InputError for an infinite number or NaN."""
    for name, value in params.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{name} {abbreviate(value)} is not a number that JSON has: use a finite one")
    return {name: value for name, value in params.items() if value is not None}


def _lease(leases: LeaseTracker, id: int, lease: int | None) -> int | None:
    """Return `lease`, or if it is None the lease that this client remembers for the message."""
    check_id(id)
    return leases.lease_of(id) if lease is None else lease


def _from(address: str | None, content: dict[str, Any]) -> dict[str, Any]:
    return content if address is None else {"from": address, **content}


def _content(params: Mapping[str, Any], message: NewMessage) -> dict[str, Any]:
    """Return a checked message in the server's form: the given parameters, with the body as JSON."""
    content = {name: value for name, value in params.items() if value is not None and name not in ("tags", "to")}
    if "to" in params:
        content["to"] = params["to"] if isinstance(params["to"], str) else list(params["to"])
    if params.get("tags"):
        content["tags"] = list(params["tags"])
    return {**content, "body": message.body}


def receipts_of(result: Any) -> list[Receipt]:
    """Return the receipts of a result."""
    from raven.model.status import Receipt

    return [Receipt.from_dict(receipt) for receipt in result["receipts"]]


def pruned_of(result: Any) -> Pruned:
    """Return the counts of a `prune`."""
    from raven.model.status import Pruned

    # The server reports only deleted messages, and no other candidates.
    messages, kept = result["messages"], result["kept"]
    return Pruned(messages, result["bytes"], messages + kept, kept, result["expired"])


def forgotten_of(result: Any) -> Forgotten:
    """Return the counts of a `forget`."""
    from raven.model.status import Forgotten

    return Forgotten(result["addresses"], result["deliveries"])


def addresses_of(role: str | Sequence[str] | None) -> str | list[str] | None:
    """Return one or several addresses as a parameter."""
    return role if role is None or isinstance(role, str) else list(role)
