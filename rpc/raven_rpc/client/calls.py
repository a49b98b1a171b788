"""Calls: what is asked of the helper, checked as `BusClient` checks it, and what is made of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import raven
from raven import Draft, InputError, Message, State, make_draft, make_drafts
from raven_rpc.client.retry import given_of

_T = TypeVar("_T")
# Who may send, and how much, is the helper's to say; and the one to whom an answer goes is its to find.
_ANYBODY = "anybody:here"
_NO_LIMIT = 1 << 62


class Call(NamedTuple, Generic[_T]):
    """A method with its parameters, how its result is read, and whether it may be asked twice."""

    method: str
    params: dict[str, Any]
    read: Callable[[Any], _T]
    again: bool = False


def send(address: str | None, to: str | Sequence[str], type: str, body: Any, options: dict[str, Any]) -> Call[Message]:
    """Return the call for `send`; raises InputError."""
    draft = make_draft(address or _ANYBODY, _NO_LIMIT, to=to, type=type, body=body, **options)
    content = _content({**options, "to": to, "type": type}, draft)
    return Call("send", _from(address, content), Message.from_dict, bool(options.get("dedup_key")))


def send_many(address: str | None, messages: Sequence[Mapping[str, Any]]) -> Call[list[Message]]:
    """Return the call for `send_many`; raises InputError."""
    drafts = make_drafts(address or _ANYBODY, _NO_LIMIT, messages)
    contents = [_content(message, draft) for message, draft in zip(messages, drafts, strict=True)]
    again = all(content.get("dedup_key") for content in contents)
    return Call("send_many", _from(address, {"messages": contents}), messages_of, again)


def reply(address: str | None, msg: Message | int, type: str, body: Any, options: dict[str, Any]) -> Call[Message]:
    """Return the call for `reply`; raises InputError."""
    if not isinstance(msg, Message | int) or isinstance(msg, bool):
        raise InputError(f"{msg!r} is neither a message nor the id of one: give what inbox or claim returned")
    id = msg if isinstance(msg, int) else msg.id
    raven.check_id(id)
    given = {name: value for name, value in options.items() if name != "reply_to"}
    draft = make_draft(address or _ANYBODY, _NO_LIMIT, to=_ANYBODY, type=type, body=body, **given)
    content = {**_content({**given, "type": type}, draft), "id": id}
    return Call("reply", _from(address, content), Message.from_dict, bool(given.get("dedup_key")))


def request(
    address: str | None, to: str | Sequence[str], type: str, body: Any, timeout_s: float, options: dict[str, Any]
) -> Call[Message]:
    """Return the call for `request`, without its `timeout_s`; raises InputError."""
    raven.check_request(timeout_s, options)
    return send(address, to, type, body, options)._replace(method="request")


def ack(address: str | None, id: int, lease: int | None) -> Call[None]:
    """Return the call for `ack` of an id that was checked."""
    return Call("ack", given_of({"id": id, "role": address, "lease": lease}), lambda _: None, True)


def nack(address: str | None, id: int, delay_s: float, reason: str | None, lease: int | None) -> Call[State]:
    """Return the call for `nack` of an id that was checked; raises InputError."""
    params = {"id": id, "role": address, "delay_s": delay_s, "reason": reason, "lease": lease}
    return Call("nack", given_of(params), lambda result: result["state"])


def extend(address: str | None, id: int, lease_s: float, lease: int | None) -> Call[None]:
    """Return the call for `extend` of an id that was checked; raises InputError."""
    raven.check_lease(lease_s)
    return Call(
        "extend", given_of({"id": id, "role": address, "lease_s": lease_s, "lease": lease}), lambda _: None, True
    )


def messages_of(result: Any) -> list[Message]:
    """Return the messages that a result holds."""
    return [Message.from_dict(shape) for shape in result["messages"]]


def _from(address: str | None, content: dict[str, Any]) -> dict[str, Any]:
    return content if address is None else {"from": address, **content}


def _content(message: Mapping[str, Any], draft: Draft) -> dict[str, Any]:
    """Return a message that was checked as the helper takes it; only what is not left out."""
    given = {name: value for name, value in message.items() if value is not None and name not in ("tags", "to")}
    if "to" in message:
        given["to"] = message["to"] if isinstance(message["to"], str) else list(message["to"])
    if message.get("tags"):
        given["tags"] = list(message["tags"])
    return {**given, "body": draft.body}
