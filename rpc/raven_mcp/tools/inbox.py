"""Inbox: the unfinished mail of the session, with a wait for more, and the rest of long bodies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from raven.errors import InputError, abbreviate
from raven_mcp.tools import texts
from raven_mcp.tools.context import OPEN, Context, Wait
from raven_mcp.tools.table import MAX_WAIT_S

if TYPE_CHECKING:
    from raven.model.message import Message
    from raven_mcp.wire.requests import Pending, Result

_MAX = 10
# Claude Code moves a call that takes longer than two minutes to the background, and wakes the session by its result.
_BACKGROUND_HOSTS = frozenset({"claude-code"})
_MAX_BACKGROUND_WAIT_S = 86_400
# A wait looks for new messages among so many.
_MOST_LISTED = 100


def inbox(context: Context, arguments: dict[str, Any]) -> Result | Pending:
    """List the unfinished messages; with `wait_s` only new ones, and wait for the first; with `id` one body."""
    if "id" in arguments:
        others = [name for name in ("max", "wait_s") if name in arguments]
        if others:
            raise InputError(f"{others[0]} does not go with id: leave one of them out")
        return _one(context, arguments["id"], arguments.get("offset", 0))
    if arguments.get("offset"):
        raise InputError(f"offset {abbreviate(arguments['offset'])} needs id: give the id of the message that is cut")
    most, wait_s = arguments.get("max", _MAX), arguments.get("wait_s", 0)
    _check_wait(context, wait_s)
    if not wait_s:
        return _show(context, _unfinished(context, most))
    wait = Wait(context, wait_s, partial(_new, context, most), listens=True)
    return wait.poll() or wait


def _check_wait(context: Context, wait_s: float) -> None:
    longest = _MAX_BACKGROUND_WAIT_S if context.session.host in _BACKGROUND_HOSTS else MAX_WAIT_S
    if wait_s > longest:
        raise InputError(
            f"wait_s {abbreviate(wait_s)} is over {longest}, the longest wait of this program: then call inbox again"
        )


def _new(context: Context, most: int, is_over: bool) -> Result | None:
    """Return the messages that the model has not seen; without any, an empty list if the time is over."""
    messages = _unseen(context, most)
    return _show(context, messages) if messages or is_over else None


def _unfinished(context: Context, most: int) -> list[Message]:
    """Return the unfinished messages of the session; at a shared address, those in hand and further ones."""
    if not context.is_shared:
        return context.reader.unacked(most)
    held = context.claims.held()
    if len(held) < most:
        held += context.claims.claim(most - len(held))
    return held[:most]


def _unseen(context: Context, most: int) -> list[Message]:
    """Return the unfinished messages that the model has not seen."""
    is_shared = context.is_shared
    unfinished = context.claims.held() if is_shared else context.reader.unacked(_MOST_LISTED)
    unseen = [message for message in unfinished if context.is_new(message)][:most]
    return unseen or context.claims.claim(most) if is_shared else unseen


def _show(context: Context, messages: list[Message]) -> Result:
    """Return the messages for which the result has room, and the number of the others."""
    shown = texts.fill([texts.head(message) for message in messages], messages)
    del messages[len(shown) :]
    waiting = {*context.reader.ready_ids(), *(message.id for message in context.claims.held())}
    mark = context.show(messages)
    return context.result({"messages": shown, "more": len(waiting.difference(one["id"] for one in shown))}, mark)


def _one(context: Context, id: int, offset: int) -> Result:
    """Return one message of the session, with its body from `offset` on."""
    message = context.bus.read(id)
    context.check_own(message)
    text = texts.body_text(message)
    if offset and offset >= len(text):
        raise InputError(f"offset {offset} is beyond the body of message #{id}, which has {len(text)} characters")
    shown = texts.head(message)
    if message.state not in OPEN:
        shown["state"] = message.state
    texts.set_body(shown, text, offset, texts.MAX_RESULT - texts.FRAME - texts.size(shown))
    mark = context.show([message])
    return context.result({"messages": [shown]}, mark)
