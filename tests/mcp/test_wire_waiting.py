"""Calls that wait: others are answered meanwhile, progress is told, and a cancelled call has no answer."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from scripts.harness.deadline import Limit
from tests.mcp.harness import McpClient, McpError
from tests.support import PROGRAMS

StartMcp = Callable[..., McpClient]


def start_with(start_mcp: StartMcp, db: str, **options: Any) -> McpClient:
    """Start a server with options that the command line lacks."""
    values = json.dumps({"db": db, "address": "a:s", **options})
    return start_mcp(command=(sys.executable, str(PROGRAMS / "mcp_server.py"), values), bus=None)


def wait_for_mail(client: McpClient, wait_s: float, token: Any = None, id: Any = None) -> Any:
    """Begin a call of `inbox` that waits; return its id."""
    meta = {} if token is None else {"_meta": {"progressToken": token}}
    return client.send("tools/call", {"name": "inbox", "arguments": {"wait_s": wait_s}, **meta}, id)


def test_while_a_call_waits_the_others_are_answered(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s")
    waiting = wait_for_mail(client, 100)

    assert client.request("ping") == {}
    assert client.call("inbox")["messages"] == []
    assert not client.has_response(waiting)


def test_a_call_that_waits_ends_at_its_time(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s")
    began = time.monotonic()

    assert client.value(wait_for_mail(client, 0.3))["messages"] == []
    assert 0.3 <= time.monotonic() - began < Limit(0.8)


def test_calls_that_wait_end_in_the_order_of_their_times(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s")
    late, early = wait_for_mail(client, 0.8), wait_for_mail(client, 0.1)

    client.value(late)

    assert [response["id"] for response in client.unclaimed()] == [early]


def test_a_cancelled_call_gets_no_answer(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s")
    call = {"name": "inbox", "arguments": {"wait_s": 0.2}}
    messages: list[dict[str, Any]] = [
        {"method": "tools/call", "params": call, "id": "cancelled"},
        {"method": "notifications/cancelled", "params": {"requestId": "cancelled", "reason": "the user pressed Esc"}},
        {"method": "tools/call", "params": call, "id": "other"},
    ]

    # One write, so that no pause of this process lets the call end before its cancellation.
    client.write_bytes(b"".join(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n" for message in messages))

    client.value("other")
    assert client.unclaimed() == []


def test_the_id_of_a_cancelled_call_can_be_used_again(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s")
    wait_for_mail(client, 100, id="one")
    client.notify("notifications/cancelled", {"requestId": "one"})

    assert client.response(client.send("ping", id="one")) == {}


def test_a_call_that_has_ended_cannot_be_cancelled_any_more(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s")
    done = wait_for_mail(client, 0.05)
    client.value(done)

    client.notify("notifications/cancelled", {"requestId": done})

    assert client.request("ping") == {}


def test_the_id_of_a_waiting_call_is_refused_for_another(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s")
    waiting = wait_for_mail(client, 100)

    client.send("ping", id=waiting)

    with pytest.raises(McpError, match="-32600: a call with this id still waits: use another id"):
        client.response(waiting)
    client.call("send", to="a:s", body="the end of the wait")
    client.value(waiting)


@pytest.mark.parametrize("token", ["abc", 7, 0, ""])
@pytest.mark.parametrize("modern", [False, True])
def test_a_waiting_call_with_a_token_tells_its_progress(start_mcp: StartMcp, db: str, token: Any, modern: bool) -> None:
    client = start_with(start_mcp, db, progress_s=0.1)
    client.is_modern = modern
    waiting = wait_for_mail(client, 0.8, token)

    noted = [client.notification("notifications/progress") for _ in range(3)]
    client.value(waiting)

    assert [note["progressToken"] for note in noted] == [token] * 3
    done = [note["progress"] for note in noted]
    assert done == sorted(set(done))
    assert {round(note["total"], 1) for note in noted} == {0.8}


@pytest.mark.parametrize("token", [None, True, 1.5, [], {}])
def test_without_a_token_that_is_a_string_or_an_integer_no_progress_is_told(
    start_mcp: StartMcp, db: str, token: Any
) -> None:
    client = start_with(start_mcp, db, progress_s=0.05)

    client.value(wait_for_mail(client, 0.3, token))

    assert client.notifications == []


def test_after_its_cancellation_a_call_tells_no_progress(start_mcp: StartMcp, db: str) -> None:
    client = start_with(start_mcp, db, progress_s=0.05)
    waiting = wait_for_mail(client, 100, "token")
    client.notification("notifications/progress")
    client.notify("notifications/cancelled", {"requestId": waiting})
    client.request("ping")
    client.notifications.clear()

    client.value(wait_for_mail(client, 0.3))

    assert client.notifications == []


@pytest.mark.slow
def test_progress_is_told_each_thirty_seconds(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s")
    began = time.monotonic()
    wait_for_mail(client, 100, "token")

    client.notification("notifications/progress", 60)

    assert 29.9 < time.monotonic() - began < Limit(31)


def test_too_many_waiting_calls_are_refused_one_by_one(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s")
    waiting = [wait_for_mail(client, 100) for _ in range(100)]

    refused = client.response(wait_for_mail(client, 100))

    assert refused["isError"]
    assert refused["content"][0]["text"] == "too many calls wait already: let one of them end first"
    client.notify("notifications/cancelled", {"requestId": waiting[0]})
    accepted = wait_for_mail(client, 0.1)
    client.value(accepted)
    assert client.unclaimed() == []
