"""What a helper seldom does to its clients: says too much, falls silent, refuses an ack, or goes amid one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raven import BodyError, BusClient, LimitError, LostError, Message, UnreachableError
from raven_rpc import Client
from tests.asking import request
from tests.support import DEADLINE_S, wait_until

# Each connection has its answers, one for each request: the lines that are written, with the id of the request where
# they say ASKED. When they are used up the connection ends with the next request.
Script = list[list[list[dict[str, Any]]]]
Play = Callable[[Script], str]
ASKED = "the id of the request"
SUBSCRIBED = {"result": {"subscription": 1}, "id": ASKED}
ACKED = {"result": {"acked": [1]}, "id": ASKED}
LEASE_LOST = {"error": {"code": -32031, "message": "another has it", "data": {"kind": "lease_lost"}}, "id": ASKED}
FULL = {"error": {"code": -32022, "message": "full", "data": {"kind": "limit"}}, "id": None}
OF_ANOTHER = {"result": "of another request", "id": 99}
END = {"method": "end", "params": {"subscription": 1, "reason": "done"}}
LOOPS = ["listen", "subscribe"]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Return what lets a socket answer by a script, and tells its path."""
    path = str(tmp_path / "played.sock")
    threads: list[threading.Thread] = []

    def run(script: Script) -> None:
        for answers in script:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError), connection.makefile() as lines:
                for answer in answers:
                    asked = json.loads(lines.readline())["id"]
                    shapes = [{**shape, "id": asked} if shape.get("id") == ASKED else shape for shape in answer]
                    connection.sendall(b"".join(json.dumps(shape).encode() + b"\n" for shape in shapes))
                lines.readline()

    def start(script: Script) -> str:
        threads.append(threading.Thread(target=run, args=[script], daemon=True))
        threads[-1].start()
        return path

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen()
        yield start
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


@pytest.fixture
def leaver(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """Return a path and the socket that listens there, at which nobody is let in unless the test does it."""
    path = str(tmp_path / "leaver.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen()
        yield path, listening


def leave(listening: socket.socket, *said: dict[str, Any]) -> None:
    """Let one client in, tell it something, and close."""
    connection, _ = listening.accept()
    with connection:
        connection.sendall(b"".join(json.dumps(shape).encode() + b"\n" for shape in said))


def push(message: Message) -> dict[str, Any]:
    return {"method": "message", "params": {"subscription": 1, "message": message.as_dict()}}


@pytest.fixture
def mail(connect: Callable[..., BusClient]) -> list[dict[str, Any]]:
    """Return what is pushed for two messages."""
    sender = connect("b:s")
    return [push(sender.send("a:s", "note", number)) for number in range(2)]


def bodies(bus: Client, loop: str, **options: Any) -> list[Any]:
    """Return the bodies that a loop hands out until it ends."""

    async def take() -> list[Any]:
        return [message.body async for message in bus.subscribe(**options)]

    if loop == "subscribe":
        return asyncio.run(take())
    return [message.body for message in bus.listen(**options)]


# Loops


@pytest.mark.parametrize("loop", LOOPS)
def test_a_message_whose_lease_has_ended_is_not_handed_out_and_the_next_one_is(
    play: Play, mail: list[dict[str, Any]], loop: str
) -> None:
    path = play([[[SUBSCRIBED, *mail], [LEASE_LOST], [ACKED, END]]])

    with Client(path, "a:s") as bus:
        assert bodies(bus, loop) == [1]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_message_whose_ack_was_lost_is_not_handed_out_and_the_loop_goes_on_elsewhere(
    play: Play, mail: list[dict[str, Any]], loop: str
) -> None:
    path = play([[[SUBSCRIBED, mail[0]]], [[SUBSCRIBED, mail[1]], [ACKED, END]]])

    with Client(path, "a:s") as bus:
        assert bodies(bus, loop) == [1]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_passes_over_answers_to_what_it_has_not_asked(play: Play, mail: list[dict[str, Any]], loop: str) -> None:
    path = play([[[OF_ANOTHER, SUBSCRIBED, OF_ANOTHER, mail[0]], [OF_ANOTHER, ACKED, OF_ANOTHER, END]]])

    with Client(path, "a:s") as bus:
        assert bodies(bus, loop) == [0]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_without_patience_goes_on_after_a_helper_that_never_subscribed_it(
    play: Play, mail: list[dict[str, Any]], loop: str
) -> None:
    path = play([[], [[SUBSCRIBED, mail[0]], [ACKED, END]]])

    with Client(path, "a:s", patience_s=0) as bus:
        assert bodies(bus, loop) == [0]


def test_an_async_loop_whose_time_passed_with_its_last_message_in_hand_ends(
    play: Play, mail: list[dict[str, Any]]
) -> None:
    path = play([[[SUBSCRIBED, *mail], [ACKED]]])

    async def take(bus: Client) -> list[Any]:
        found, end = [], time.monotonic() + 0.2
        async for message in bus.subscribe(timeout_s=0.2):
            found.append(message.body)
            wait_until(lambda: time.monotonic() > end + 0.05, "the end of its time")
        return found

    with Client(path, "a:s") as bus:
        assert asyncio.run(take(bus)) == [0]


# Calls


@pytest.mark.parametrize("mode", ["blocking", "async"])
def test_a_long_call_that_is_not_answered_says_how_long_it_waited(play: Play, mode: str) -> None:
    path = play([[[OF_ANOTHER]]])

    with (
        Client(path, "a:s", timeout_s=0.05) as bus,
        pytest.raises(LostError, match=r"no answer to request came from .* within 0.06 s"),
    ):
        request(bus, mode, "b:s", "note", timeout_s=0.01)


@pytest.mark.parametrize("said", [[], [END], [OF_ANOTHER]], ids=["nothing", "an end", "an answer"])
@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_a_helper_that_went_before_it_was_asked_is_unreachable(
    leaver: tuple[str, socket.socket], kind: str, said: list[dict[str, Any]]
) -> None:
    path, listening = leaver

    with pytest.raises(UnreachableError):
        ask_one_that_left(path, listening, kind, said)


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_a_helper_that_said_why_it_went_before_it_was_asked_is_quoted(
    leaver: tuple[str, socket.socket], kind: str
) -> None:
    path, listening = leaver

    with pytest.raises(LimitError, match="full"):
        ask_one_that_left(path, listening, kind, [FULL])


def ask_one_that_left(path: str, listening: socket.socket, kind: str, said: list[dict[str, Any]]) -> None:
    async def ask(bus: Client) -> None:
        wire = bus._transport.new_async_connection()
        await wire.connect()
        leave(listening, *said)
        try:
            await wire.ask("ping", {})
        finally:
            wire.close()

    with Client(path) as bus:
        if kind == "async":
            asyncio.run(ask(bus))
        else:
            wire = bus._transport.connect()
            leave(listening, *said)
            wire.ask("ping", {})


def test_a_helper_that_went_without_reading_what_it_was_asked_is_lost(leaver: tuple[str, socket.socket]) -> None:
    path, listening = leaver

    async def ask(bus: Client) -> None:
        wire = bus._transport.new_async_connection()
        await wire.connect()
        asking = asyncio.create_task(wire.ask("ping", {}))
        await asyncio.sleep(0)
        connection, _ = listening.accept()
        select.select([connection], [], [], DEADLINE_S)
        connection.close()  # unread, which resets the other end
        try:
            await asking
        finally:
            wire.close()

    with Client(path) as bus, pytest.raises(LostError):
        asyncio.run(ask(bus))


def test_a_connection_that_was_closed_asks_nothing_any_more(leaver: tuple[str, socket.socket]) -> None:
    path, _ = leaver

    async def ask(bus: Client) -> None:
        wire = bus._transport.new_async_connection()
        await wire.connect()
        wire.close()
        await wire.ask("ping", {})

    with Client(path) as bus, pytest.raises(UnreachableError):
        asyncio.run(ask(bus))


def test_who_waits_at_a_connection_that_another_thread_has_closed_is_told_that_it_is_lost(
    leaver: tuple[str, socket.socket],
) -> None:
    path, _ = leaver
    with Client(path) as bus:
        wire = bus._transport.connect()
        wire.close()

        with pytest.raises(LostError):
            wire.next_notification(None)


@pytest.mark.parametrize("depth", [0, 200_000])
def test_what_json_cannot_hold_is_refused_before_it_is_sent(leaver: tuple[str, socket.socket], depth: int) -> None:
    path, _ = leaver
    body: Any = object() if not depth else None
    for _ in range(depth):
        body = [body]

    with Client(path) as bus, pytest.raises(BodyError, match="flatten" if depth else "not JSON"):
        bus.call("send", {"to": "b:s", "type": "note", "body": body})


class Part:
    """Something that ends with its client, and lets go of another as it does."""

    def __init__(self, other: Part | None = None) -> None:
        self.other = other
        self.is_closed = False

    def close(self) -> None:
        self.is_closed, self.other = True, None


def test_a_client_that_closes_passes_over_what_was_dropped_meanwhile(leaver: tuple[str, socket.socket]) -> None:
    bus = Client(leaver[0])
    first, last = Part(Part()), Part()
    assert first.other
    for part in (first, first.other, last):
        bus._transport.track(part)
    del part

    bus.close()

    assert first.is_closed
    assert last.is_closed
