"""What the parts of a helper do where something unforeseen comes, or a limit that is seldom reached."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raven import BindError
from raven.host import host as host_module
from raven.host import limits as places
from raven_rpc import Server
from raven_rpc.jsonrpc import messages as protocol
from raven_rpc.jsonrpc.unix_socket import ListeningSocket
from raven_rpc.server import responses as answers
from raven_rpc.server import server as server_module
from raven_rpc.server.server import Shortage
from tests.serving import Line
from tests.support import DEADLINE_S


@contextmanager
def running(db: str) -> Iterator[Server]:
    """Run a helper in a thread of this process."""
    server = Server(db)
    is_ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server.run(lambda _: is_ready.set())))
    thread.start()
    assert is_ready.wait(DEADLINE_S)
    try:
        yield server
    finally:
        server.loop.call_soon_threadsafe(server.stop)
        thread.join(DEADLINE_S)
    assert not thread.is_alive()


# Answers


@pytest.mark.parametrize("depth", [0, 200_000])
def test_a_result_that_json_cannot_hold_is_answered_with_an_internal_error(depth: int) -> None:
    value: Any = object() if not depth else None
    for _ in range(depth):
        value = [value]

    line = answers.ready(protocol.success(7, value)).line()

    shape = json.loads(line)
    assert (shape["id"], shape["error"]["code"]) == (7, protocol.INTERNAL_ERROR)


def test_a_batch_whose_answers_come_to_too_much_has_errors_in_the_place_of_the_last(
    db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MAX_ANSWER", 3000)
    with running(db), Line(f"{db}.sock") as line:
        line.ask("send", {"from": "a:s", "to": "b:s", "type": "note", "body": "x" * 1500})

        line.write(json.dumps([protocol.request(id, "read", [1]) for id in (1, 2)]))

        first, second = line.read()
        assert first["result"]["id"] == 1
        assert second["error"]["data"]["kind"] == "limit"


def test_texts_are_the_same_where_python_has_no_json_encoder_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    value: dict[str, Any] = {"text": 'é "quoted" \u2028', "list": [1, 2.5, None, True, {}], "empty": []}
    fast = "".join(protocol._make_encode()(value, 0))
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)

    assert "".join(protocol._make_encode()(value, 0)) == fast


# Places, and addresses


def test_a_subscription_for_which_there_is_no_place_is_to_be_tried_again(
    db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "wanted_for", lambda connections: 1)
    with running(db), Line(f"{db}.sock") as line:
        first = line.ask("tail")

        data = line.error("tail")["data"]

        assert (data["kind"], data["retryable"]) == ("limit", True)
        line.ask("unsubscribe", first)
        line.ask("tail")


def test_a_helper_that_has_written_as_very_many_addresses_forgets_them(
    db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "_MAX_SHARED", 2)
    with running(db) as server, Line(f"{db}.sock") as line:
        sent = [line.ask("send", [f"{role}:s", "z:s", "note"])["sender"] for role in "abcab"]

        assert sent == ["a:s", "b:s", "c:s", "a:s", "b:s"]
        assert len(server.host._shared) <= 2


# The socket, and its descriptors


def test_a_socket_of_another_kind_in_the_place_of_the_helper_s_is_left_there(tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))

        with pytest.raises(BindError, match="somebody's socket stands at"):
            ListeningSocket(str(path))

        assert path.is_socket()


def test_the_limit_on_descriptors_is_raised_as_far_as_it_goes() -> None:
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most - 10, hard))

        assert server_module._allow_descriptors(most) == most
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
        assert server_module._allow_descriptors(most - 5) == most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft


def test_an_error_of_the_event_loop_that_is_no_shortage_is_told_as_asyncio_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(Shortage())
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())

    assert [(one.name, one.exc_info is not None) for one in caplog.records] == [("asyncio", True)]
