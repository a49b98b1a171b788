"""Idle: clients that hold a connection and hardly write, or never read what they have asked for."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, suppress
from typing import Any

from scripts.harness.deadline import wait_until
from scripts.harness.line import connect
from scripts.harness.served import Served
from scripts.stress.trial import Round

_SEND = b'{"jsonrpc":"2.0","method":"send","params":["slow:s","nobody:s","note"],"id":1}\n'


def slow_senders(round: Round, helper: Served) -> None:
    """Write a request byte by byte on very many connections at once, and never the last one."""
    with ExitStack() as stack:
        slow = _crowd(stack, helper, 150)
        for byte in _SEND[:40]:
            for connection in slow:
                connection.send(bytes([byte]))
        round.count("bytes of slow senders", 40 * len(slow))
        if round.random.random() < 0.5:
            chosen = slow[0]
            chosen.sendall(_SEND[40:])
            answer = json.loads(_line(chosen))
            round.expect("result" in answer, f"a slow request should be answered once it is whole: {answer}")


def long_halves(round: Round, helper: Served) -> None:
    """Write most of a line of the greatest length on many connections, and leave them so."""
    with ExitStack() as stack:
        crowd = _crowd(stack, helper, 12)
        for connection in crowd:
            connection.sendall(b'["' + b"x" * 7_000_000)
        round.count("unfinished lines of 7 MB", len(crowd))


def at_the_limit(round: Round, helper: Served, limit: int) -> None:
    """Open as many connections as may be: who is in goes on, and who comes is told to try again."""
    with ExitStack() as stack:
        inside: list[socket.socket] = []
        refusal = b""
        while not refusal and len(inside) <= limit:
            connection = _crowd(stack, helper, 1)[0]
            with suppress(OSError):  # refused before it could ask
                connection.sendall(b'{"jsonrpc":"2.0","method":"ping","id":7}\n')
            answer = _line(connection)
            if b'"error"' in answer:
                refusal = answer
            else:
                inside.append(connection)
        round.count("connections up to the limit", len(inside))
        told = json.loads(refusal or b"{}")
        is_right = told.get("id", 0) is None and told["error"]["data"] == {"kind": "limit", "retryable": True}
        round.expect(is_right, f"one connection too many should be told to try again, and was told {told}")
        for connection in (inside[0], inside[-1]):
            connection.sendall(b'{"jsonrpc":"2.0","method":"ping","id":8}\n')
            round.expect(b"pong" in _line(connection), "who is in should be answered while the helper is full")


def slow_readers(round: Round, helper: Served) -> None:
    """Subscribe to much, ask for much, and read nothing."""
    helper.ask(
        "send_many", {"from": "slow:s", "messages": [{"to": "pile:s", "type": "note", "body": "x" * 9000}] * 100}
    )
    asked = [
        _lines(("subscribe", {"role": "pile:s", "ack": "manual", "window": 10_000})),
        _lines(*[("tail", {"from_id": 1})] * 20),
        _lines(*[("inbox", {"role": "pile:s", "peek": True})] * 200),
        _lines(*[("rpc.discover", {})] * 200),
    ]
    with ExitStack() as stack:
        for number, connection in enumerate(_crowd(stack, helper, 24)):
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.send(asked[number % len(asked)])
        round.count("clients that never read", 24)
        wait_until(lambda: helper.ask("stats", {"full": False})["pushed"], "a push to one of them")
    helper.ask("prune", {"older_than_s": 0})


def many_waits(round: Round, helper: Served) -> None:
    """Let very many requests wait, on several connections, for what will never come."""
    first = helper.ask("send", ["slow:s", "nobody:s", "note"])["id"]
    wait = {"id": first, "timeout_s": 60}
    with ExitStack() as stack:
        for connection in _crowd(stack, helper, 3):
            connection.sendall(_lines(*[("wait_receipt", wait)] * 300))
            connection.sendall(_lines(("request", {"from": "a:s", "to": "b:s", "type": "q", "timeout_s": 60})))
        round.count("waiting requests", 903)
        wait_until(lambda: helper.ask("stats", {"full": False})["waits"] >= 300, "300 waits")


def _crowd(stack: ExitStack, helper: Served, count: int) -> list[socket.socket]:
    return [stack.enter_context(connect(helper.path)) for _ in range(count)]


def _lines(*calls: tuple[str, Any]) -> bytes:
    shapes = ({"jsonrpc": "2.0", "method": method, "params": params, "id": 1} for method, params in calls)
    return b"".join(json.dumps(shape).encode() + b"\n" for shape in shapes)


def _line(connection: socket.socket) -> bytes:
    """Return the next line, without looking ahead; what came before the end where there is none."""
    found = b""
    with suppress(ConnectionResetError):
        while not found.endswith(b"\n") and (more := connection.recv(1 << 16)):
            found += more
    return found
