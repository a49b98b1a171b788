"""Identity: the calls that tell the server who its session is, `join` of the agent and `hook` of the host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from raven.agents.agents import check_address
from raven.errors import RavenError
from raven_mcp.hooks import answers
from raven_mcp.session.identity import is_subagent
from raven_mcp.wire.requests import Result

if TYPE_CHECKING:
    from raven_mcp.tools.context import Context
    from raven_mcp.wire.requests import Call

_NOTHING = "{}"
_TRUE = (True, "true")


def join(context: Context, arguments: dict[str, Any]) -> Result:
    """Take an address; the mail in hand at a shared one is given back before."""
    session, left = context.session, context.address
    role, name = arguments["role"], arguments.get("session", left.partition(":")[2])
    check_address(f"{role}:{name}")
    context.claims.release()
    left_mail = session.join(role, name, share=arguments.get("share", False), about=arguments.get("about"))
    value: dict[str, Any] = {"you": session.address}
    if left_mail:
        value["left"] = {"address": left, "unread": left_mail}
    return context.result(value)


def hook(context: Context, call: Call) -> Result:
    """Return the answer to a hook of the host, as the JSON that it wants; without news, and after any error, `{}`."""
    session, event = context.session, str(call.arguments.get("event"))
    kind = answers.kind_of(event)
    if kind is None:
        return Result.of(_NOTHING)
    try:
        session.bind(call)
        notice = session.hear(
            kind,
            is_active=call.arguments.get("active") in _TRUE,
            is_subagent=is_subagent(call),
            can_show=answers.can_show(session.host, event),
        )
    except RavenError:
        return Result.of(_NOTHING)
    return Result.of(json.dumps(answers.render(session.host, event, notice), separators=(",", ":")))
