"""A malformed, silent or dying server, or another program at the socket: calls and loops of its clients still end."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient, LimitError, LostError, Message, RavenError, ServerError, UnreachableError
from raven_rpc import Client
from tests.rpc_server import Served
from tests.support import DEADLINE_S, wait_until
from tests.thread_call import request

# Each connection has its answers, one for each request: the lines that are written, with the id of the request if they
# say ASKED. When they are used up the connection ends with the next request.
Script = list[list[list[dict[str, Any]]]]
Mail = list[dict[str, Any]]
Play = Callable[[Script], str]
Answer = Callable[[list[bytes]], str]

ASKED = "the id of the request"
SUBSCRIBED = {"jsonrpc": "2.0", "result": {"subscription": 1}, "id": ASKED}
ACKED = {"result": {"acked": [1]}, "id": ASKED}
LEASE_LOST = {"error": {"code": -32031, "message": "another has it", "data": {"kind": "lease_lost"}}, "id": ASKED}
FULL = {"error": {"code": -32022, "message": "full", "data": {"kind": "limit"}}, "id": None}
OF_ANOTHER = {"result": "of another request", "id": 99}
END = {"method": "end", "params": {"subscription": 1, "reason": "done"}}
ODD_RESULTS = [None, 7, "text", [], {}, {"messages": 7}, {"id": "x"}, {"messages": [{}]}, {"subscription": []}]
ODD_LINES = ["{}", "[]", "null", '{"id":1}', '{"id":1,"error":7}', '{"method":"message"}', "\x00", "x" * 100_000]


def in_lines(shapes: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in shapes)


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """Return a listening socket; only the test accepts connections."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening_socket:
        listening_socket.bind(str(tmp_path / "ill.sock"))
        listening_socket.listen()
        yield listening_socket


@pytest.fixture
def ill(listening: socket.socket) -> Iterator[Answer]:
    """Return a function that sets the bytes that a socket answers to any input before it closes."""
    answer = b""

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
        return str(listening.getsockname())

    yield say
    listening.shutdown(socket.SHUT_RDWR)
    thread.join(DEADLINE_S)


@pytest.fixture
def play(listening: socket.socket) -> Iterator[Play]:
    """Return a function that lets a socket answer by a script, and returns its path."""
    threads: list[threading.Thread] = []

    def run(script: Script) -> None:
        for answers in script:
            connection, _ = listening.accept()
            with connection, suppress(OSError), connection.makefile() as lines:
                for answer in answers:
                    asked = json.loads(lines.readline())["id"]
                    connection.sendall(
                        in_lines([{**value, "id": asked} if value.get("id") == ASKED else value for value in answer])
                    )
                lines.readline()

    def start(script: Script) -> str:
        threads.append(threading.Thread(target=run, args=[script], daemon=True))
        threads[-1].start()
        return str(listening.getsockname())

    yield start
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


# Lines that are no response


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
        lambda: bus.forget("gone:s"),
        bus.stats,
        lambda: bus.request("b:s", "note", timeout_s=1),
    ]


@pytest.mark.parametrize("result", ODD_RESULTS, ids=json.dumps)
def test_a_result_of_another_shape_is_a_server_error(ill: Answer, result: Any) -> None:
    path = ill([json.dumps({"jsonrpc": "2.0", "result": result, "id": 1}).encode()])
    with Client(path, "a:s", timeout_s=DEADLINE_S, connect_timeout_s=0) as bus:
        for call in calls(bus):
            try:
                call()
            except RavenError as error:
                assert isinstance(error, ServerError)  # noqa: PT017 some of them may succeed


@pytest.mark.parametrize("line", ODD_LINES)
def test_a_line_that_is_no_response_is_an_error_of_raven_s(ill: Answer, line: str) -> None:
    path = ill([line.encode()])
    with Client(path, "a:s", timeout_s=DEADLINE_S, connect_timeout_s=0) as bus:
        for call in calls(bus):
            with pytest.raises(RavenError):
                call()


def test_a_hello_without_an_address_is_a_server_error(ill: Answer) -> None:
    path = ill([json.dumps({"jsonrpc": "2.0", "result": {}, "id": 1}).encode()])
    with Client(path, connect_timeout_s=0) as bus, pytest.raises(ServerError):
        print(bus.address)


@pytest.mark.parametrize("mode", ["blocking", "async"])
def test_a_long_call_that_is_not_answered_says_how_long_it_waited(play: Play, mode: str) -> None:
    with (
        Client(play([[[OF_ANOTHER]]]), "a:s", timeout_s=0.05) as bus,
        pytest.raises(LostError, match=r"no answer to request came from .* within 0.06 s"),
    ):
        request(bus, mode, "b:s", "note", timeout_s=0.01)


# Loops


@pytest.fixture
def mail(connect: Callable[..., BusClient]) -> Mail:
    """Return the pushed lines of two messages."""
    sender = connect("b:s")
    sent = [sender.send("a:s", "note", number).as_dict() for number in range(2)]
    return [{"method": "message", "params": {"subscription": 1, "message": message}} for message in sent]


@pytest.mark.parametrize("loop", ["tail", "listen", "subscribe"])
def test_a_loop_at_a_server_that_drops_every_client_ends_at_its_timeout(ill: Answer, loop: str) -> None:
    path = ill([json.dumps({**SUBSCRIBED, "id": 1}).encode()])

    with Client(path, "a:s", connect_timeout_s=0) as bus:
        begin, busy = time.monotonic(), time.thread_time()
        assert bodies(bus, loop, timeout_s=0.5) == []
        assert 0.5 <= time.monotonic() - begin < DEADLINE_S
        assert time.thread_time() - busy < 0.4, "it asked again and again without a pause"


def bodies(bus: Client, loop: str, **options: Any) -> list[Any]:
    """Return the bodies that a loop yields until it ends."""

    async def take() -> list[Any]:
        return [message.body async for message in bus.subscribe(**options)]

    if loop == "subscribe":
        return asyncio.run(take())
    return [message.body for message in getattr(bus, loop)(**options)]


@pytest.mark.parametrize("loop", ["listen", "subscribe"])
@pytest.mark.parametrize(
    ("script", "options", "delivered"),
    [
        (lambda mail: [[[SUBSCRIBED, *mail], [LEASE_LOST], [ACKED, END]]], {}, [1]),
        (lambda mail: [[[SUBSCRIBED, mail[0]]], [[SUBSCRIBED, mail[1]], [ACKED, END]]], {}, [1]),
        (lambda mail: [[], [[SUBSCRIBED, mail[0]], [ACKED, END]]], {"connect_timeout_s": 0}, [0]),
    ],
    ids=["its lease has ended", "its ack was lost", "it was never subscribed"],
)
def test_a_loop_does_not_deliver_a_message_it_could_not_ack_and_goes_on(
    play: Play, mail: Mail, script: Callable[[Mail], Script], options: dict[str, Any], delivered: list[int], loop: str
) -> None:
    with Client(play(script(mail)), "a:s", **options) as bus:
        assert bodies(bus, loop) == delivered


def test_an_async_loop_whose_time_passed_with_its_last_message_in_hand_ends(play: Play, mail: Mail) -> None:
    async def take(bus: Client) -> list[Message]:
        bodies, end = [], time.monotonic() + 0.2
        async for message in bus.subscribe(timeout_s=0.2):
            bodies.append(message)
            wait_until(lambda: time.monotonic() > end + 0.05, "the end of its time")
        return bodies

    with Client(play([[[SUBSCRIBED, *mail], [ACKED]]]), "a:s") as bus:
        assert [message.body for message in asyncio.run(take(bus))] == [0]


# A server that has gone


@pytest.mark.parametrize(
    ("said", "kind"),
    [([], UnreachableError), ([END], UnreachableError), ([OF_ANOTHER], UnreachableError), ([FULL], LimitError)],
    ids=["nothing", "an end", "an answer", "why"],
)
@pytest.mark.parametrize("mode", ["blocking", "async"])
def test_a_server_that_went_before_it_was_asked_is_unreachable_unless_it_said_why(
    listening: socket.socket, mode: str, said: list[dict[str, Any]], kind: type[RavenError]
) -> None:
    def leave() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(in_lines(said))

    async def ask_async(bus: Client) -> None:
        connection = bus._transport.new_async_connection()
        await connection.connect()
        leave()
        try:
            await connection.ask("ping", {})
        finally:
            connection.close()

    def ask(bus: Client) -> None:
        connection = bus._transport.connect()
        leave()
        connection.ask("ping", {})

    with Client(listening.getsockname()) as bus, pytest.raises(kind):
        ask(bus) if mode == "blocking" else asyncio.run(ask_async(bus))


def test_a_server_that_went_without_reading_what_it_was_asked_is_lost(listening: socket.socket) -> None:
    async def ask(bus: Client) -> None:
        connection = bus._transport.new_async_connection()
        await connection.connect()
        asking = asyncio.create_task(connection.ask("ping", {}))
        await asyncio.sleep(0)
        other, _ = listening.accept()
        select.select([other], [], [], DEADLINE_S)
        other.close()  # unread, which resets the other end
        try:
            await asking
        finally:
            connection.close()

    with Client(listening.getsockname()) as bus, pytest.raises(LostError):
        asyncio.run(ask(bus))


def test_a_call_on_a_connection_that_another_thread_closes_is_lost(
    listening: socket.socket,
) -> None:
    with Client(listening.getsockname()) as bus:
        connection = bus._transport.connect()
        connection.close()

        with pytest.raises(LostError):
            connection.next_notification(None)


class Part:
    """A part of a client whose `close` drops the last reference to another part."""

    def __init__(self, other: Part | None = None) -> None:
        self.other, self.is_closed = other, False

    def close(self) -> None:
        self.other, self.is_closed = None, True


def test_a_client_that_closes_passes_over_what_was_dropped_meanwhile() -> None:
    bus, parts = Client("none.sock"), [Part(Part()), Part()]
    for part in (parts[0], parts[0].other, parts[1]):
        bus._transport.track(part)
    del part

    bus.close()

    assert [part.is_closed for part in parts] == [True, True]


# A server that is full


def test_a_server_that_is_full_is_tried_again_until_it_has_room(serve: Callable[..., Served]) -> None:
    served = serve("--max-connections", "1")
    first = served.connect()
    assert first.ask("ping") == "pong"
    timer = threading.Timer(0.3, first.close)
    timer.start()

    with Client(served.path, "a:s", connect_timeout_s=DEADLINE_S) as bus:
        assert bus.send("b:s", "note").id == 1

    timer.join()


def test_a_server_that_stays_full_is_given_up_with_its_limit(serve: Callable[..., Served]) -> None:
    served = serve("--max-connections", "1")
    with served.connect() as first:
        first.ask("ping")
        with Client(served.path, "a:s", connect_timeout_s=0.1) as bus:
            with pytest.raises(LimitError):
                bus.send("b:s", "note")
            with pytest.raises(LimitError):
                next(bus.listen())
        assert first.ask("last_id") == {"id": 0}
