"""Targets: the callables that fuzzing feeds with bytes; each raises an error if the bytes break a promise."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from raven import RavenError
from raven_rpc import Client, Server
from raven_rpc.jsonrpc import messages
from raven_rpc.jsonrpc.framing import Lines
from raven_rpc.methods.table import METHODS
from raven_rpc.server.connection import Connection
from scripts.stress.fuzz import oracle
from scripts.stress.fuzz.oracle import ViolationError

Target = Callable[[bytes], None]
# Small, so that inputs of some kilobytes exceed it.
_MAX_REQUEST = 2048
_DEADLINE_S = 20.0
# The longest wait for a request that may wait; longer than the timeouts in the corpus.
_WAIT_S = 0.05
_RETENTION = {"max_messages": 500, "grace_s": 0}


@contextmanager
def server(folder: Path) -> Iterator[Target]:
    """Yield a connection to a whole server: lines in, responses out, over a real socket and with a real bus."""
    with _without_warnings(), asyncio.Runner() as runner:
        loop = runner.get_loop()
        server = Server(
            str(folder / "bus.db"), str(folder / "s"), max_request=_MAX_REQUEST, retention=_RETENTION, busy_timeout_s=5
        )
        ready = asyncio.Event()
        task = loop.create_task(server.run(lambda _: ready.set()))
        runner.run(asyncio.wait_for(ready.wait(), _DEADLINE_S))

        def feed(data: bytes) -> None:
            due = oracle.owed(data, _MAX_REQUEST, METHODS)
            oracle.check(runner.run(_exchange(server, data, may_wait=due.waits)), due)

        try:
            yield feed
        finally:
            server.stop()
            runner.run(asyncio.wait_for(task, _DEADLINE_S))


@contextmanager
def _without_warnings() -> Iterator[None]:
    log = logging.getLogger("raven")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


async def _exchange(server: Server, data: bytes, *, may_wait: bool) -> bytes:
    """Write some bytes to a server over a new connection, end the input, and return all its output."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    _, connection = await loop.connect_accepted_socket(lambda: Connection(server.front), theirs)
    try:
        writer.write(data)
        writer.write_eof()
        output = bytearray()
        # A server that closes with unread input resets the connection; its output before that counts.
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(_WAIT_S if may_wait else _DEADLINE_S) as limit:
                while more := await reader.read(1 << 18):
                    output += more
        if limit.expired():
            if not may_wait:
                raise ViolationError(f"it was not closed within {_DEADLINE_S:g} s; so far {bytes(output[:200])!r}")
            del output[output.rfind(b"\n") + 1 :]
        return bytes(output)
    finally:
        writer.close()
        while not connection.sink.is_closed:
            await asyncio.sleep(0)


@contextmanager
def parser(folder: Path) -> Iterator[Target]:
    """Yield the parser without I/O, many times as fast: cut lines from pieces, and parse and write each."""

    def feed(data: bytes) -> None:
        whole = list(Lines(_MAX_REQUEST).cut(data + b"\n"))
        lines, pieces = Lines(_MAX_REQUEST), []
        size = data[0] + 1 if data else 1
        for start in range(0, len(data), size):
            pieces += lines.cut(data[start : start + size])
        rest = lines.rest()
        if [*pieces, *([rest] if rest else [])] != whole:
            raise ViolationError(f"pieces of {size} bytes give other lines")
        for line in filter(None, whole):
            _parse(line)

    yield feed


def _parse(line: bytes) -> None:
    """Parse a line with raven and with Python's own json, compare, and write it again."""
    try:
        value = messages.parse(line)
    except messages.ParseError as error:
        with suppress(ValueError, RecursionError):
            oracle.strict(line)
            if "nests too deep" not in str(error):
                raise ViolationError(f"it refuses valid JSON: {error}") from None
        return
    try:
        same = oracle.strict(line)
    except RecursionError:
        return
    except ValueError as error:
        raise ViolationError(f"it accepts invalid JSON: {error}") from None
    written = messages.encode(value)
    if written.count(b"\n") != 1 or not written.endswith(b"\n"):
        raise ViolationError(f"its output is not one line: {written[:200]!r}")
    if repr(value) != repr(same) or repr(messages.parse(written)) != repr(value):
        raise ViolationError(f"it reads {value!r} instead of {same!r}, and writes {written[:200]!r}")


@contextmanager
def client(folder: Path) -> Iterator[Target]:
    """Yield the client, to which a malicious server answers with these bytes, and closes."""
    path = str(folder / "malicious")
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        connection.recv(1 << 16)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def feed(data: bytes) -> None:
            nonlocal answer
            answer = data[1:]
            call = _CALLS[data[0] % len(_CALLS)] if data else _CALLS[0]
            with Client(path, "a:s", timeout_s=_DEADLINE_S, connect_timeout_s=0) as client, suppress(RavenError):
                call(client)

        try:
            yield feed
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(_DEADLINE_S)


def _ask_address(bus: Client) -> None:
    with Client(bus.db_path, timeout_s=_DEADLINE_S, connect_timeout_s=0) as client_without_address:
        assert client_without_address.address != ""


def _transact(bus: Client) -> None:
    with bus.transaction() as tx:
        tx.send("b:s", "note")
        tx.nack(1)


async def _subscribe(bus: Client) -> None:
    async for _ in bus.subscribe(timeout_s=_WAIT_S):
        break


_CALLS: list[Callable[[Client], Any]] = [
    lambda bus: bus.send("b:s", "note"),
    lambda bus: bus.send_many([{"to": "b:s", "type": "note"}]),
    lambda bus: bus.inbox(),
    lambda bus: bus.claim(),
    lambda bus: bus.read(1),
    lambda bus: bus.ack(1),
    lambda bus: bus.nack(1),
    lambda bus: bus.extend(1),
    lambda bus: bus.reply(1, "note"),
    lambda bus: bus.request("b:s", "note", timeout_s=_WAIT_S),
    lambda bus: bus.receipts(1),
    lambda bus: bus.wait_receipt(1, timeout_s=_WAIT_S),
    lambda bus: bus.recipients(1),
    lambda bus: bus.history("c"),
    lambda bus: bus.thread(1),
    lambda bus: bus.peers(),
    lambda bus: bus.register("a:s"),
    lambda bus: bus.last_id(),
    lambda bus: bus.dead(),
    lambda bus: bus.requeue(1),
    lambda bus: bus.purge_dead(),
    lambda bus: bus.prune(9),
    lambda bus: bus.forget("gone:s"),
    lambda bus: bus.stats(),
    _ask_address,
    lambda bus: next(bus.tail(timeout_s=_WAIT_S), None),
    lambda bus: next(bus.listen(timeout_s=_WAIT_S), None),
    lambda bus: next(bus.listen(timeout_s=_WAIT_S, ack="manual"), None),
    lambda bus: asyncio.run(_subscribe(bus)),
    _transact,
]

TARGETS: dict[str, Callable[[Path], Any]] = {"parser": parser, "server": server, "client": client}
