"""The cost of a tool's call: it grows with what the call shows, not with the mail of others."""

from __future__ import annotations

from collections.abc import Callable

from raven import BusClient
from raven_mcp.tools.call import Tools
from tests.mcp.agent_session import AgentSession
from tests.support import closed_at_the_end, instructions

UNREAD = 5_000


def test_a_send_costs_no_more_when_much_mail_waits_for_its_recipient(
    connect: Callable[..., BusClient], db: str
) -> None:
    connect("script:s").register()
    connect("other:s").send_many([{"to": "script:s", "type": "junk"}] * UNREAD)
    with closed_at_the_end(AgentSession) as start:
        agent = start(db, address="a:s").start()
        call = agent.call("send", to="script:s", body="ready")

        with instructions(agent.session.bus) as used:
            assert '"script:s":"away"' in str(Tools(agent.session).call(call))

            assert used() < UNREAD
