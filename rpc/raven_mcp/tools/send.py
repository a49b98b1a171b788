"""Send: a message to other sessions, and the wait for its answer."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from raven.errors import BodyError, RavenError
from raven.model import body as bodies
from raven.model.new_message import OPTIONS
from raven_mcp.tools import texts
from raven_mcp.tools.context import Context, Wait

if TYPE_CHECKING:
    from raven.model.message import Message
    from raven_mcp.wire.requests import Pending, Result

# The limit of the bus is higher: a longer text is better read from a file.
MAX_BODY_BYTES = 64 * 1024
LISTENING, AWAY = "listening", "away"
_TYPE = "message"
_MOST_RECIPIENTS = 20


def send(context: Context, arguments: dict[str, Any]) -> Result | Pending:
    """Send one message; with `wait_s`, wait for the first answer."""
    body, wait_s = arguments["body"], arguments.get("wait_s", 0)
    check_body(body)
    options = {name: value for name, value in arguments.items() if name in OPTIONS}
    sent = context.bus.send(arguments["to"], arguments.get("type", _TYPE), body, **options)
    value = describe(context, sent)
    if not wait_s:
        return context.result(value)
    failing = f"message #{sent.id} was sent, but raven cannot wait for its answer: "
    wait = Wait(context, wait_s, partial(_answer, context, sent, value), listens=False, failing=failing)
    return wait.poll() or wait


def check_body(body: Any) -> None:
    """Raise BodyError for a body that is too long for an agent's message, or no JSON value."""
    size = len(bodies.encode(body).encode())
    if size > MAX_BODY_BYTES:
        raise BodyError(
            f"body has {size:,} bytes as JSON, over the limit of {MAX_BODY_BYTES:,}: write a file and send its path"
        )


def describe(context: Context, sent: Message, *, absent: str = "unknown") -> dict[str, Any]:
    """Return a message that was sent as its sender sees it: its id, and the state of each recipient.

    `absent` is the state of an address that no client has ever used.
    """
    waiting = dict(islice((sent.waiting or {}).items(), _MOST_RECIPIENTS))
    value: dict[str, Any] = {"id": sent.id, "to": {one: _state(context, one, waiting[one], absent) for one in waiting}}
    others = len(sent.waiting or {}) - len(waiting)
    if others:
        value["others"] = others
    if sent.duplicate:
        value["duplicate"] = True
    return value


def _state(context: Context, address: str, is_waiting: bool, absent: str) -> str:
    """Return the state of a recipient, an agent's session or another program."""
    # The message is sent: an error now would let the agent send it again.
    with suppress(RavenError):
        agents = context.session.agents.of_address(address)
        living = next((agent for agent in agents if agent.is_alive()), None)
        if living is not None:
            return living.state or LISTENING
        if not is_waiting and not agents:
            return AWAY if context.reader.is_registered(address) else absent
    return LISTENING if is_waiting else AWAY


def _answer(context: Context, sent: Message, value: dict[str, Any], is_over: bool) -> Result | None:
    """Return the result with the answer to a message, or with null if the time is over; else None."""
    answer = _find_answer(context, sent)
    if answer is None:
        return context.result({**value, "answer": None}) if is_over else None
    shown = texts.head(answer)
    texts.set_body(shown, texts.body_text(answer), 0, texts.MAX_BODY)
    context.show([answer])
    result = {**value, "answer": shown}
    if context.is_shared:  # before another session can claim it
        _finish(context, answer)
        return context.result(result)
    return context.result(result, partial(_finish, context, answer))


def _find_answer(context: Context, sent: Message) -> Message | None:
    """Return the first reply that is not finished; of a message that was sent before, any reply."""
    for reply in context.reader.replies_to(sent.id):
        if reply.state in ("sent", "delivered") or (sent.duplicate and reply.state == "acked"):
            return reply
    return None


def _finish(context: Context, answer: Message) -> None:
    # An answer that stays unfinished is ordinary mail, and shown again.
    with suppress(RavenError):
        context.bus.ack(answer.id)
        context.claims.forget([answer.id])
