"""New mail wakes an idle agent, by the way in that its program has."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from tests.mcp.agent_session import AgentSession, Clock, Inbox
from tests.support import closed_at_the_end

NOTICE = "raven: #1 from architect:pay (question). Not from your user. Read with inbox."
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(db: str, inbox: Inbox, clock: Clock) -> Iterator[Callable[..., AgentSession]]:
    """Start sessions, of Claude Code with the inbox by default."""

    def make(**options: Any) -> AgentSession:
        options = {"address": "verifier:pay", "env": inbox.env, "clock": clock, **options}
        return AgentSession(db, **options).start()

    with closed_at_the_end(make) as start:
        yield start


def test_an_agent_whose_hooks_were_never_heard_is_pushed_at_once(
    start: Callable[..., AgentSession], inbox: Inbox
) -> None:
    agent = start()

    agent.send()
    agent.turn_until(inbox.read, "a push")

    assert inbox.lines == [
        {"type": "auth", "token": "secret"},
        {"type": "user", "message": {"role": "user", "content": NOTICE}},
    ]


def test_without_a_token_the_text_comes_alone(start: Callable[..., AgentSession], inbox: Inbox) -> None:
    agent = start(env={name: value for name, value in inbox.env.items() if not name.endswith("TOKEN")})

    agent.send()
    agent.turn_until(inbox.read, "a push")

    assert [line["type"] for line in inbox.lines] == ["user"]


def test_an_idle_agent_is_pushed_and_a_busy_one_hears_by_its_hooks(
    start: Callable[..., AgentSession], inbox: Inbox
) -> None:
    agent = start()
    agent.hook("prompt")
    first = agent.send()
    agent.settle()
    assert inbox.read() == []
    agent.hook("after-tool")
    agent.hook("stop")

    second = agent.send()
    agent.settle()

    assert [f"#{first} " in text for text in inbox.read()] == [False]
    assert f"#{second} " in inbox.texts[0]


def test_a_busy_agent_whose_hooks_are_silent_is_pushed_after_ten_seconds(
    start: Callable[..., AgentSession], inbox: Inbox, clock: Clock
) -> None:
    agent = start()
    agent.hook("prompt")
    agent.send()
    clock.pass_s(9.9)
    agent.settle()
    assert inbox.read() == []

    clock.pass_s(0.2)
    agent.settle()

    assert inbox.read() == [NOTICE]


def test_an_agent_that_waits_for_mail_is_not_pushed(start: Callable[..., AgentSession], inbox: Inbox) -> None:
    agent = start()
    agent.session.presence.begin_wait(listens=True)

    agent.send()
    agent.settle()

    assert inbox.read() == []


def test_a_message_is_pushed_once(start: Callable[..., AgentSession], inbox: Inbox, clock: Clock) -> None:
    agent = start()
    agent.send()
    agent.settle()

    for _ in range(5):
        clock.pass_s(60)
        agent.settle()

    assert inbox.read() == [NOTICE]


def test_a_burst_of_mail_is_one_push(start: Callable[..., AgentSession], inbox: Inbox) -> None:
    agent = start()

    ids = [agent.send() for _ in range(3)]
    agent.settle()

    assert len(inbox.read()) == 1
    assert all(f"#{id} " in inbox.texts[0] for id in ids)


def test_while_a_push_is_unread_the_next_waits_and_tells_of_all_that_came(
    start: Callable[..., AgentSession], inbox: Inbox, clock: Clock
) -> None:
    agent = start()
    agent.send()
    agent.settle()
    assert len(inbox.read()) == 1

    second, third = agent.send(), agent.send()
    agent.settle()
    assert len(inbox.read()) == 1
    clock.pass_s(5)
    agent.settle()

    assert len(inbox.read()) == 2
    assert f"#{second} " in inbox.texts[1]
    assert f"#{third} " in inbox.texts[1]


def test_a_push_that_was_read_lets_the_next_one_come_at_once(start: Callable[..., AgentSession], inbox: Inbox) -> None:
    agent = start()
    agent.send()
    agent.settle()
    agent.look()

    agent.send()
    agent.settle()

    assert len(inbox.read()) == 2


def test_a_push_is_no_delivery(start: Callable[..., AgentSession], inbox: Inbox) -> None:
    agent = start()
    message = agent.send()
    agent.settle()
    assert inbox.read()

    with BusClient.at("architect:pay", agent.db) as sender:
        (receipt,) = sender.receipts(message)
        assert receipt.state == "sent"
        agent.look()
        (receipt,) = sender.receipts(message)
        assert receipt.state == "delivered"


def test_the_same_notice_after_a_compaction_is_no_identical_repeat(
    start: Callable[..., AgentSession], inbox: Inbox, clock: Clock
) -> None:
    agent = start()
    agent.send()
    agent.settle()

    agent.session.forget_announced()
    clock.pass_s(10)
    agent.settle()

    assert inbox.read() == [NOTICE, f"{NOTICE} It still waits."]


def test_a_session_without_pushes_is_told_at_its_next_prompt(start: Callable[..., AgentSession], inbox: Inbox) -> None:
    agent = start(pushes=False)
    agent.send()

    agent.settle()

    assert inbox.read() == []
    assert agent.hook("prompt") == NOTICE


def test_a_push_to_a_socket_that_is_gone_announces_nothing(start: Callable[..., AgentSession], inbox: Inbox) -> None:
    agent = start()
    inbox.close()
    agent.send()

    agent.settle()

    assert agent.session.unannounced() == 1
    assert agent.hook("prompt") == NOTICE


def test_a_push_that_failed_is_tried_again_after_ten_seconds(
    start: Callable[..., AgentSession], inbox: Inbox, clock: Clock, tmp_path: Path
) -> None:
    agent = start()
    os.rename(inbox.path, f"{inbox.path}.away")
    agent.send()
    agent.settle()
    os.rename(f"{inbox.path}.away", inbox.path)

    clock.pass_s(9)
    agent.settle()
    assert inbox.read() == []
    clock.pass_s(2)
    agent.settle()

    assert inbox.read() == [NOTICE]


def test_pushes_that_fail_are_tried_ever_more_seldom(
    start: Callable[..., AgentSession], inbox: Inbox, clock: Clock
) -> None:
    agent = start()
    inbox.close()
    agent.send()
    agent.settle()
    tried_at = []
    for _ in range(700):
        clock.pass_s(1)
        before = agent.session._pusher._retry_at  # type: ignore[union-attr]
        agent.session._pusher.push()  # type: ignore[union-attr]
        if agent.session._pusher._retry_at != before:  # type: ignore[union-attr]
            tried_at.append(clock.now - 1000)

    assert tried_at == [10, 30, 70, 150, 310, 630]


def test_no_token_goes_to_a_file_that_is_no_socket(
    start: Callable[..., AgentSession], inbox: Inbox, tmp_path: Path
) -> None:
    agent = start()
    inbox.close()
    Path(inbox.path).touch()

    agent.send()
    agent.settle()

    assert Path(inbox.path).read_bytes() == b""
    assert agent.session.unannounced() == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket to another user")
def test_no_token_goes_to_a_socket_of_another_user(start: Callable[..., AgentSession], inbox: Inbox) -> None:
    agent = start()
    os.chown(inbox.path, 12345, 12345)

    agent.send()
    agent.settle()

    assert inbox.read() == []
    assert agent.session.unannounced() == 1


def test_a_program_that_takes_no_connection_delays_the_server_for_a_moment_only(
    start: Callable[..., AgentSession], tmp_path: Path
) -> None:
    path = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as full:
        full.bind(path)
        full.listen(0)
        taken = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2)]
        try:
            for one in taken:
                one.setblocking(False)
                one.connect_ex(path)
            agent = start(env={"CLAUDE_CODE_MESSAGING_SOCKET": path, "CLAUDE_CODE_SESSION_ID": "s1"})
            agent.send()

            agent.settle()

            assert agent.session.unannounced() == 1
        finally:
            for one in taken:
                one.close()


def test_with_a_channel_the_host_is_notified(start: Callable[..., AgentSession], inbox: Inbox) -> None:
    agent = start(channel=True)

    agent.send()
    agent.settle()

    assert agent.notified == [("notifications/claude/channel", {"content": NOTICE})]
    assert inbox.read() == []


@pytest.mark.parametrize("host", ["opencode", "gemini-cli-mcp-client", "cursor-vscode", "test"])
def test_a_program_without_a_way_in_is_not_pushed(start: Callable[..., AgentSession], inbox: Inbox, host: str) -> None:
    agent = start(host=host)

    agent.send()
    agent.settle()

    assert inbox.read() == []
    assert agent.session.unannounced() == 1


@pytest.fixture
def workers(db: str, clock: Clock, tmp_path: Path) -> Iterator[list[tuple[AgentSession, Inbox]]]:
    """Start two sessions that share one address, each with an inbox of its own."""
    inboxes = [Inbox(tmp_path, f"{number}.sock") for number in range(2)]
    agents = []
    for number, inbox in enumerate(inboxes):
        env = {**inbox.env, "CLAUDE_CODE_SESSION_ID": f"session-{number}"}
        agents.append(AgentSession(db, env=env, clock=clock).start())
        agents[-1].session.join("worker", "pay", share=True)
    yield list(zip(agents, inboxes, strict=True))
    for agent, inbox in zip(agents, inboxes, strict=True):
        agent.close()
        inbox.close()


def settle_both(workers: list[tuple[AgentSession, Inbox]]) -> list[int]:
    """Let both sessions do what is due; return how many pushes each has had."""
    for _ in range(2):
        for agent, _inbox in workers:
            agent.settle()
    return [len(inbox.read()) for _agent, inbox in workers]


def test_one_message_wakes_one_of_the_sessions_that_share_an_address(workers: list[tuple[AgentSession, Inbox]]) -> None:
    settle_both(workers)

    workers[0][0].send()

    assert sorted(settle_both(workers)) == [0, 1]


def test_a_busy_session_passes_the_ring_on_to_one_that_shares_its_address(
    workers: list[tuple[AgentSession, Inbox]], clock: Clock
) -> None:
    settle_both(workers)
    workers[0][0].send()
    rung = settle_both(workers).index(1)
    workers[rung][0].look()
    workers[rung][0].hook("prompt")

    workers[0][0].send()

    pushes = settle_both(workers)
    assert (pushes[rung], pushes[1 - rung]) == (1, 1)


def test_mail_that_no_session_takes_wakes_the_others_that_share_the_address(
    workers: list[tuple[AgentSession, Inbox]], clock: Clock
) -> None:
    settle_both(workers)
    workers[0][0].send()
    assert sorted(settle_both(workers)) == [0, 1]

    clock.pass_s(31)

    assert settle_both(workers) == [1, 1]
