"""Finish: `reply` and `done`, by which an agent says that it has dealt with a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raven.errors import InputError, NotFoundError
from raven_mcp.tools.context import OPEN
from raven_mcp.tools.send import AWAY, check_body, describe

if TYPE_CHECKING:
    from raven_mcp.tools.context import Context
    from raven_mcp.wire.requests import Result

_TYPE = "reply"


def reply(context: Context, arguments: dict[str, Any]) -> Result:
    """Answer a message, and finish it in the same transaction unless `keep`."""
    check_body(arguments["body"])
    bus, keeps = context.bus, arguments.get("keep", False)
    message = bus.read(arguments["id"])
    if not keeps:
        context.check_own(message)
    with bus.transaction() as tx:
        sent = tx.reply(message, arguments.get("type", _TYPE), arguments["body"])
        if not keeps:
            tx.ack(message.id)
    if not keeps:
        context.claims.forget([message.id])
    return context.result(describe(context, sent, absent=AWAY))


def done(context: Context, arguments: dict[str, Any]) -> Result:
    """Finish messages, or give them back; all of them or none."""
    ids = list(dict.fromkeys(arguments["ids"]))
    gives_back, reason = arguments.get("give_back", False), arguments.get("reason")
    if reason is not None and not gives_back:
        raise InputError("reason needs give_back=true: leave it out, or say it in a reply")
    _check(context, ids, must_be_open=gives_back)
    with context.bus.transaction() as tx:
        if gives_back:
            states = {id: tx.nack(id, reason=reason) for id in ids}
        else:
            for id in ids:
                tx.ack(id)
    context.claims.forget(ids)
    if not gives_back:
        return context.result({"done": ids})
    dead = [id for id, state in states.items() if state == "dead"]
    return context.result({"given_back": [id for id in ids if id not in dead], "dead": dead})


def _check(context: Context, ids: list[int], *, must_be_open: bool) -> None:
    """Raise InputError that names all ids which this session cannot finish."""
    wrong, reasons = [], []
    for id in ids:
        try:
            message = context.bus.read(id)
            context.check_own(message)
            if must_be_open and message.state not in OPEN:
                raise InputError(f"message #{id} is finished already")
        except (NotFoundError, InputError) as error:
            wrong.append(f"#{id}")
            reasons.append(str(error))
    if wrong:
        raise InputError(f"no message was changed, because of {', '.join(wrong)}: {reasons[0]}")
