"""Slow clients: clients that hardly write, or never read their responses."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, suppress
from typing import Any

from scripts.harness.deadline import wait_until
from scripts.harness.line import connect
from scripts.harness.served import Served
from scripts.stress.trial import Round

_SEND = b'{"jsonrpc":"2.0","method":"send","params":["slow:s","unread:s","note"],"id":1}\n'


def slow_senders(round: Round, server: Served) -> None:
    """Write a request byte by byte on very many connections at once, without the last byte."""
    with ExitStack() as stack:
        connections = _connect(stack, server, 150)
        for byte in _SEND[:40]:
            for connection in connections:
                connection.send(bytes([byte]))
        round.count("bytes of slow senders", 40 * len(connections))
        if round.random.random() < 0.5:
            chosen = connections[0]
            chosen.sendall(_SEND[40:])
            answer = json.loads(_line(chosen))
            round.expect("result" in answer, f"a slow request should be answered when it is complete: {answer}")


def unfinished_lines(round: Round, server: Served) -> None:
    """Write most of a line of the greatest length on many connections, and never end it."""
    with ExitStack() as stack:
        connections = _connect(stack, server, 12)
        for connection in connections:
            connection.sendall(b'["' + b"x" * 7_000_000)
        round.count("unfinished lines of 7 MB", len(connections))


def connections_to_the_limit(round: Round, server: Served, limit: int) -> None:
    """Open connections up to the limit: connected clients are served, and a new one gets a retryable error."""
    with ExitStack() as stack:
        connected: list[socket.socket] = []
        refusal = b""
        while not refusal and len(connected) <= limit:
            connection = _connect(stack, server, 1)[0]
            with suppress(OSError):  # the server refused the connection before the request
                connection.sendall(b'{"jsonrpc":"2.0","method":"ping","id":7}\n')
            answer = _line(connection)
            if b'"error"' in answer:
                refusal = answer
            else:
                connected.append(connection)
        round.count("connections up to the limit", len(connected))
        error = json.loads(refusal or b"{}")
        is_right = error.get("id", 0) is None and error["error"]["data"] == {"kind": "limit", "retryable": True}
        round.expect(is_right, f"a connection over the limit should get a retryable error, and got {error}")
        for connection in (connected[0], connected[-1]):
            connection.sendall(b'{"jsonrpc":"2.0","method":"ping","id":8}\n')
            round.expect(
                b"pong" in _line(connection), "a connected client should be answered while the server is at its limit"
            )


def slow_readers(round: Round, server: Served) -> None:
    """Subscribe to and request large results, and read nothing."""
    server.ask(
        "send_many", {"from": "slow:s", "messages": [{"to": "pile:s", "type": "note", "body": "x" * 9000}] * 100}
    )
    requests = [
        _lines(("subscribe", {"role": "pile:s", "ack": "manual", "window": 10_000})),
        _lines(*[("tail", {"from_id": 1})] * 20),
        _lines(*[("inbox", {"role": "pile:s", "peek": True})] * 200),
        _lines(*[("rpc.discover", {})] * 200),
    ]
    with ExitStack() as stack:
        for number, connection in enumerate(_connect(stack, server, 24)):
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.send(requests[number % len(requests)])
        round.count("clients that never read", 24)
        wait_until(lambda: server.ask("stats", {"full": False})["pushed"], "a push to one of them")
    server.ask("prune", {"older_than_s": 0})


def many_waiting_requests(round: Round, server: Served) -> None:
    """Send very many requests that wait for events that never come, on several connections."""
    first = server.ask("send", ["slow:s", "unread:s", "note"])["id"]
    wait = {"id": first, "timeout_s": 60}
    with ExitStack() as stack:
        for connection in _connect(stack, server, 3):
            connection.sendall(_lines(*[("wait_receipt", wait)] * 300))
            connection.sendall(_lines(("request", {"from": "a:s", "to": "b:s", "type": "q", "timeout_s": 60})))
        round.count("waiting requests", 903)
        wait_until(lambda: server.ask("stats", {"full": False})["waits"] >= 300, "300 waits")


def _connect(stack: ExitStack, server: Served, count: int) -> list[socket.socket]:
    return [stack.enter_context(connect(server.path)) for _ in range(count)]


def _lines(*calls: tuple[str, Any]) -> bytes:
    requests = ({"jsonrpc": "2.0", "method": method, "params": params, "id": 1} for method, params in calls)
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


def _line(connection: socket.socket) -> bytes:
    """Return the next line, reading no further; at the end of the connection, the bytes before it."""
    line = b""
    with suppress(ConnectionResetError):
        while not line.endswith(b"\n") and (more := connection.recv(1 << 16)):
            line += more
    return line
