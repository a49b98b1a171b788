"""Look: `peers` and `thread`, which read the bus and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raven_mcp.tools import texts
from raven_mcp.tools.send import AWAY, LISTENING

if TYPE_CHECKING:
    from raven.model.message import Message
    from raven.model.status import Peer
    from raven_mcp.tools.context import Context
    from raven_mcp.wire.requests import Result

_MAX = 10
_LONGEST_THREAD = 1_000
_LONGEST_TEXT = 200
_MOST_RECEIPTS = 10


def peers(context: Context, arguments: dict[str, Any]) -> Result:
    """List the other addresses: those of the own session first, and living ones before the others."""
    own = context.address.partition(":")[2]
    found = [peer for peer in context.bus.peers(arguments.get("session")) if peer.address != context.address]
    found.sort(key=lambda peer: (peer.session != own, _state(peer) == AWAY, peer.address))
    shown, room = [], texts.MAX_RESULT - texts.FRAME
    for peer in found:
        entry = _entry(peer)
        size = texts.size(entry) + 1
        if size <= room:
            shown.append(entry)
            room -= size
    value: dict[str, Any] = {"you": context.address, "peers": shown}
    if len(shown) < len(found):
        value["more"] = len(found) - len(shown)
    return context.result(value)


def _entry(peer: Peer) -> dict[str, Any]:
    entry: dict[str, Any] = {"address": peer.address, "state": _state(peer), "unread": peer.pending}
    for name, value in (("agent", peer.agent), ("about", peer.about), ("cwd", peer.cwd), ("host", peer.host)):
        if value:
            entry[name] = texts.cut(value, _LONGEST_TEXT)
    return entry


def _state(peer: Peer) -> str:
    return peer.state or (LISTENING if peer.waiting else AWAY)


def thread(context: Context, arguments: dict[str, Any]) -> Result:
    """Show the last messages of a conversation in order, each with the state of its deliveries."""
    found = context.bus.thread(arguments["id"], max=_LONGEST_THREAD)
    messages = found[-arguments.get("max", _MAX) :]
    # The last messages are the ones that matter, and so they are the last to be left out.
    newest_first = texts.fill([_head(context, message) for message in reversed(messages)], messages[::-1])
    value: dict[str, Any] = {"messages": newest_first[::-1]}
    if len(newest_first) < len(found):
        value["earlier"] = len(found) - len(newest_first)
    return context.result(value)


def _head(context: Context, message: Message) -> dict[str, Any]:
    head = texts.head(message)
    receipts = context.bus.receipts(message.id)
    head["state"] = {receipt.recipient: receipt.state for receipt in receipts[:_MOST_RECEIPTS]}
    if len(receipts) > _MOST_RECEIPTS:
        head["others"] = len(receipts) - _MOST_RECEIPTS
    return head
