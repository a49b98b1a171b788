"""A session as a process of its own, as a host starts it: `raven mcp`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raven import BusClient
from raven_mcp.session.announced import flags_folder
from tests.doctor_process import run_checks
from tests.mcp.agent_session import CLAUDE_ID, Inbox
from tests.mcp.harness import McpClient
from tests.support import Foreign, wait_for_waiting, wait_until

ADDRESS = "verifier:pay"
NOTICE = "raven: #{} from architect:pay (question). Not from your user. Read with inbox."


@pytest.fixture
def server(start_mcp: Callable[..., McpClient], inbox: Inbox, db: str) -> McpClient:
    """Start the server of an idle session, whose hooks were never heard."""
    server = start_mcp("--as", ADDRESS, name="claude-code", env=inbox.env)
    wait_for_waiting(db, ADDRESS)
    return server


@pytest.fixture
def architect(server: McpClient, db: str) -> Iterator[BusClient]:
    with BusClient.at("architect:pay", db) as bus:
        yield bus


def test_a_send_wakes_an_idle_session(server: McpClient, inbox: Inbox, architect: BusClient) -> None:
    message = architect.send(ADDRESS, "question", "Ready?")

    assert wait_until(inbox.read, "a push") == [NOTICE.format(message.id)]


def test_a_message_of_a_plain_sqlite_client_wakes_an_idle_session(
    server: McpClient, inbox: Inbox, architect: BusClient, foreign: Foreign
) -> None:
    foreign.send(ADDRESS, sender="architect:pay", type="question")

    assert wait_until(inbox.read, "a push") == [NOTICE.format(1)]


def test_a_stopped_session_is_told_of_all_its_mail_at_once(
    server: McpClient, inbox: Inbox, architect: BusClient
) -> None:
    server.kill(signal.SIGSTOP)
    ids = [architect.send(ADDRESS, "question", number).id for number in range(3)]
    server.kill(signal.SIGCONT)

    (text,) = wait_until(inbox.read, "a push")

    assert all(f"#{id} " in text for id in ids)


def test_a_session_that_is_killed_is_away_and_its_mail_waits(
    server: McpClient, inbox: Inbox, architect: BusClient
) -> None:
    server.kill()
    message = architect.send(ADDRESS, "question", "Ready?")

    (peer,) = [peer for peer in architect.peers() if peer.address == ADDRESS]

    assert (peer.agent, peer.state, peer.pending) == ("claude-code", "away", 1)
    (receipt,) = architect.receipts(message.id)
    assert receipt.state == "sent"


def test_the_server_leaves_no_program_no_flag_and_no_doorbell_behind(
    server: McpClient, inbox: Inbox, architect: BusClient, db: str
) -> None:
    architect.send(ADDRESS, "question", "Ready?")
    wait_until((Path(flags_folder(db)) / CLAUDE_ID).exists, "the flag")

    server.close_input()
    assert server.wait() == 0

    files = [name for _, _, names in os.walk(f"{db}-bells") for name in names]
    assert files in ([], ["watch.lock"])


def test_raven_doctor_finds_a_session_with_mail_healthy(
    server: McpClient, inbox: Inbox, architect: BusClient, db: str
) -> None:
    architect.send(ADDRESS, "note", "Ready.", urgency="fyi")
    wait_until((Path(flags_folder(db)) / CLAUDE_ID).exists, "the flag")

    checks = run_checks(db)

    assert {name: check.found for name, check in checks.items() if check.verdict != "ok"} == {}
    if "watch" in checks:
        assert checks["watch"].found == "the sessions of agents look for external writes every second"
