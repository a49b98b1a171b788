"""No flood and no loop of agents wakes a session without end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from raven import BusClient
from raven_mcp.session.brakes import MAX_WAKES, Brakes
from tests.mcp.agent_session import AgentSession, Clock, Inbox


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def agent(db: str, inbox: Inbox, clock: Clock, home: Path) -> Iterator[AgentSession]:
    """Start a session with an inbox, whose hooks are not installed: it is pushed at once."""
    one = AgentSession(db, address="verifier:pay", env=inbox.env, clock=clock).start()
    yield one
    one.close()


def wake(brakes: Brakes, clock: Clock, times: int) -> int:
    """Wake as often as the brakes allow, ten seconds apart; return how often."""
    woken = 0
    for _ in range(times):
        clock.pass_s(10)
        if brakes.may_push():
            woken += 1
            brakes.pushed([woken])
            brakes.looked([woken])
    return woken


def test_a_session_is_woken_at_most_sixty_times_an_hour(clock: Clock) -> None:
    brakes = Brakes(clock)

    assert wake(brakes, clock, 200) == MAX_WAKES == 60
    clock.pass_s(3600)
    assert wake(brakes, clock, 200) == 60


def test_the_sixtieth_wake_is_known_to_be_the_last(clock: Clock) -> None:
    brakes = Brakes(clock)
    wake(brakes, clock, 58)
    assert not brakes.is_last

    wake(brakes, clock, 1)

    assert brakes.is_last


def test_after_the_limit_a_session_stays_muted_until_it_has_looked(clock: Clock) -> None:
    brakes = Brakes(clock)
    for number in range(60):
        brakes.pushed([number])
    clock.pass_s(3601)

    assert not brakes.may_wake()
    brakes.looked([])
    assert brakes.may_wake()


def test_while_a_push_is_unread_the_next_waits_five_seconds(clock: Clock) -> None:
    brakes = Brakes(clock)
    brakes.pushed([1, 2])
    clock.pass_s(4.9)
    assert not brakes.may_push()

    clock.pass_s(0.2)

    assert brakes.may_push()


def test_after_a_look_at_its_mail_a_session_may_be_pushed_at_once(clock: Clock) -> None:
    brakes = Brakes(clock)
    brakes.pushed([1, 2])

    brakes.looked([7])
    assert not brakes.may_push()
    brakes.looked([2])

    assert brakes.may_push()


def test_the_last_push_of_an_hour_says_that_more_is_muted(agent: AgentSession, inbox: Inbox, clock: Clock) -> None:
    for _ in range(65):
        clock.pass_s(10)
        agent.send()
        assert agent.session._pusher
        agent.session._pusher.push()  # without the pause of a burst
        inbox.read()
        agent.look()

    texts = inbox.texts

    assert len(texts) == 60
    assert [text for text in texts if "muted" in text] == [texts[-1]]
    assert texts[-1].endswith("Read with inbox. More is muted until you look: 60 notices in an hour.")


def answer_each_other(agent: AgentSession, other: BusClient, replies: int) -> None:
    """Let two agents reply to each other; the last reply comes to the agent."""
    message = other.send(agent.address, "question", "Ready?")
    for _ in range(replies // 2):
        agent.look()
        answer = agent.session.bus.reply(message.id, "reply", "Ready. You?")
        agent.session.bus.ack(message.id)
        message = other.reply(answer.id, "reply", "Ready. You?")


def test_a_message_after_twenty_quick_replies_wakes_no_agent(agent: AgentSession, inbox: Inbox, clock: Clock) -> None:
    with BusClient.at("architect:pay", agent.db) as other:
        answer_each_other(agent, other, 20)

        agent.settle()

        assert not [text for text in inbox.read() if "reply" in text]
        assert agent.hook("stop") is None
        assert agent.hook("prompt")


def test_the_last_message_of_a_loop_that_wakes_says_that_more_is_muted(agent: AgentSession, inbox: Inbox) -> None:
    with BusClient.at("architect:pay", agent.db) as other:
        answer_each_other(agent, other, 18)
        agent.look()
        last = other.send(agent.address, "reply", "Still ready.", reply_to=other.last_id())

        agent.settle()

        (text,) = [text for text in inbox.read() if f"#{last.id} " in text]
        assert text.endswith(" More of this thread is muted until you look: 20 replies in 10 minutes.")


def test_replies_of_another_thread_wake_the_agent_beside_a_loop(
    agent: AgentSession, inbox: Inbox, clock: Clock
) -> None:
    with BusClient.at("architect:pay", agent.db) as other:
        answer_each_other(agent, other, 20)
        agent.settle()
        clock.pass_s(10)

        message = other.send(agent.address, "question", "And the tests?")
        agent.settle()

        assert any(f"#{message.id} " in text for text in inbox.read())
