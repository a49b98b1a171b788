"""A helper that means ill, or something else that answers: its clients get errors of raven's, and come to an end."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from raven import HelperError, LimitError, RavenError
from raven_rpc import Client
from tests.serving import Served
from tests.support import DEADLINE_S

Answer = Callable[[list[bytes]], str]
SUBSCRIBED = {"jsonrpc": "2.0", "result": {"subscription": 1}, "id": 1}
ODD_RESULTS = [None, 7, "text", [], {}, {"messages": 7}, {"id": "x"}, {"messages": [{}]}, {"subscription": []}]
ODD_LINES = ["{}", "[]", "null", '{"id":1}', '{"id":1,"error":7}', '{"method":"message"}', "\x00", "x" * 100_000]


@pytest.fixture
def ill(tmp_path: Path) -> Iterator[Answer]:
    """Return what sets the bytes with which a socket answers whatever is written to it, before it closes."""
    answer = b""
    path = str(tmp_path / "ill.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()

        def say(lines: list[bytes]) -> str:
            nonlocal answer
            answer = b"".join(line + b"\n" for line in lines)
            return path

        yield say
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)


def calls(bus: Client) -> list[Callable[[], Any]]:
    return [
        lambda: bus.send("b:s", "note"),
        lambda: bus.send_many([{"to": "b:s", "type": "note"}]),
        bus.inbox,
        bus.claim,
        lambda: bus.read(1),
        lambda: bus.nack(1),
        lambda: bus.receipts(1),
        lambda: bus.recipients(1),
        lambda: bus.history("c"),
        bus.peers,
        bus.last_id,
        lambda: bus.requeue(1),
        bus.purge_dead,
        lambda: bus.prune(9),
        bus.stats,
        lambda: bus.request("b:s", "note", timeout_s=1),
    ]


@pytest.mark.parametrize("result", ODD_RESULTS, ids=json.dumps)
def test_a_result_of_another_shape_is_an_error_of_the_helper_s(ill: Answer, result: Any) -> None:
    path = ill([json.dumps({"jsonrpc": "2.0", "result": result, "id": 1}).encode()])
    with Client(path, "a:s", timeout_s=DEADLINE_S, patience_s=0) as bus:
        for call in calls(bus):
            try:
                call()
            except RavenError as error:
                assert isinstance(error, HelperError)  # noqa: PT017 some of them may succeed


@pytest.mark.parametrize("line", ODD_LINES)
def test_a_line_that_is_no_response_is_an_error_of_raven_s(ill: Answer, line: str) -> None:
    path = ill([line.encode()])
    with Client(path, "a:s", timeout_s=DEADLINE_S, patience_s=0) as bus:
        for call in calls(bus):
            with pytest.raises(RavenError):
                call()


def test_an_address_that_is_not_told_is_an_error_of_the_helper_s(ill: Answer) -> None:
    path = ill([json.dumps({"jsonrpc": "2.0", "result": {}, "id": 1}).encode()])
    with Client(path, patience_s=0) as bus, pytest.raises(HelperError):
        print(bus.address)


@pytest.mark.parametrize("loop", ["tail", "listen", "subscribe"])
def test_a_loop_at_a_helper_that_takes_and_drops_everybody_ends_with_its_time(ill: Answer, loop: str) -> None:
    path = ill([json.dumps(SUBSCRIBED).encode()])

    async def subscribe() -> None:
        async for _ in bus.subscribe(timeout_s=0.5):
            pass

    with Client(path, "a:s", patience_s=0) as bus:
        begin, busy = time.monotonic(), time.thread_time()
        if loop == "subscribe":
            asyncio.run(subscribe())
        else:
            assert list(getattr(bus, loop)(timeout_s=0.5)) == []
        assert 0.5 <= time.monotonic() - begin < DEADLINE_S
        assert time.thread_time() - busy < 0.4, "it asked again and again without a pause"


# A helper that is full


def test_a_helper_that_is_full_is_tried_again_until_it_has_room(serve: Callable[..., Served]) -> None:
    served = serve("--max-connections", "1")
    first = served.connect()
    assert first.ask("ping") == "pong"
    timer = threading.Timer(0.3, first.close)
    timer.start()

    with Client(served.path, "a:s", patience_s=DEADLINE_S) as bus:
        assert bus.send("b:s", "note").id == 1

    timer.join()


def test_a_helper_that_stays_full_is_given_up_with_its_limit(serve: Callable[..., Served]) -> None:
    served = serve("--max-connections", "1")
    with served.connect() as first:
        first.ask("ping")
        with Client(served.path, "a:s", patience_s=0.1) as bus:
            with pytest.raises(LimitError):
                bus.send("b:s", "note")
            with pytest.raises(LimitError):
                next(bus.listen())
        assert first.ask("last_id") == {"id": 0}
