"""Which session a server serves: by the names that its program gives, and by those that change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.mcp.agent_session import CLAUDE_ID, CODEX_ID, OTHER_ID, AgentSession, claude

pytestmark = pytest.mark.usefixtures("folder")


def test_a_thread_of_codex_goes_on_when_an_agent_within_it_calls(start: Callable[..., AgentSession]) -> None:
    agent = start(host="codex-mcp-client", meta={"threadId": CODEX_ID})

    agent.call("inbox", {"threadId": OTHER_ID})

    assert agent.session.native_id == CODEX_ID


def test_after_a_clear_the_address_stays_and_unread_mail_is_announced_again(start: Callable[..., AgentSession]) -> None:
    agent = start(env=claude())
    agent.session.join("architect")
    seen = agent.send(sender="ci:pay")
    agent.look()
    unseen = agent.send(sender="ci:pay")
    assert agent.hook("after-tool")

    notice = agent.hook("prompt", session=OTHER_ID)

    assert agent.address == "architect:pay"
    assert agent.session.native_id == OTHER_ID
    assert notice
    assert f"#{unseen} " in notice
    assert f"#{seen} " not in notice
    assert [row.native_id for row in agent.session.agents.of_address("architect:pay") if row.pid] == [OTHER_ID]


def test_the_hook_of_an_agent_within_the_session_names_no_other_session(start: Callable[..., AgentSession]) -> None:
    agent = start(env=claude())

    agent.hook("after-tool", session=OTHER_ID, agent="explorer-1")

    assert agent.session.native_id == CLAUDE_ID


def test_a_value_that_a_program_has_not_filled_in_names_neither_an_agent_nor_a_session(
    start: Callable[..., AgentSession],
) -> None:
    agent = start(env=claude())
    agent.send()

    notice = agent.hook("prompt", session="${session_id}", agent="${agent_id}")

    assert agent.session.native_id == CLAUDE_ID
    assert notice


def start_as(start: Callable[..., AgentSession], agent_type: str, **variables: str) -> AgentSession:
    """Start a session, and let the hook of its first prompt name the agent that it is."""
    agent = start(env=claude(**variables))
    agent.call("hook", event="UserPromptSubmit", session=CLAUDE_ID, agent="", agent_type=agent_type)
    return agent


def test_a_session_that_is_a_named_agent_has_that_role(start: Callable[..., AgentSession]) -> None:
    agent = start_as(start, "Code Reviewer")

    assert agent.address == "code-reviewer:pay"
    assert agent.session.collision == "you are code-reviewer:pay, by the name of your agent"
    assert {peer.address for peer in agent.session.bus.peers()} == {"code-reviewer:pay"}


@pytest.mark.parametrize("agent_type", ["", "${agent_type}", "…"])
def test_an_agent_without_a_name_keeps_its_default_role(start: Callable[..., AgentSession], agent_type: str) -> None:
    assert start_as(start, agent_type).address == "claude-3f2a:pay"


def test_the_name_of_an_agent_is_weaker_than_a_setting_or_a_join(start: Callable[..., AgentSession]) -> None:
    agent = start_as(start, "reviewer", RAVEN_ROLE="architect")
    assert agent.address == "architect:pay"

    agent.session.join("tester")
    agent.call("hook", event="UserPromptSubmit", session=CLAUDE_ID, agent_type="reviewer")

    assert agent.address == "tester:pay"


@pytest.mark.parametrize("odd", ["a b", "../../etc/passwd", "ü", "x" * 600, "a\nb"])
def test_an_odd_name_of_a_session_is_the_name_of_no_file(start: Callable[..., AgentSession], odd: str) -> None:
    first = start(env=claude(odd))
    native_id = first.session.native_id
    assert native_id
    assert native_id.isalnum()
    address = first.address
    first.close()

    again = start(env=claude(odd))

    assert (again.session.native_id, again.address) == (native_id, address)


def test_a_program_that_names_no_session_has_one_for_the_life_of_its_process(
    start: Callable[..., AgentSession],
) -> None:
    agent = start(host="opencode")
    native_id, address = agent.session.native_id, agent.address

    agent.call("send")
    agent.call("inbox")

    assert (agent.session.native_id, agent.address) == (native_id, address)
