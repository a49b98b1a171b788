"""Truncated: a conversation that ends at each of its bytes, in every mode in which a connection can end."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress
from typing import Any

from raven_rpc.jsonrpc.messages import MAX_REQUEST
from raven_rpc.methods.table import METHODS
from scripts.harness.deadline import wait_until
from scripts.harness.line import connect
from scripts.harness.served import Served
from scripts.stress.fuzz import oracle
from scripts.stress.socket.exchange import exchange
from scripts.stress.trial import Round

CLOSE_MODES = ("close", "half-close", "kill")
OWN, OTHER = "cut:s", "claimed:s"
# The sample of a short round; a long round takes every byte.
_SAMPLE = 45
_LONG_S = 60


def conversation(number: int, last_id: int) -> list[bytes]:
    """Return the lines of a conversation, all of one length; its first message will be `last_id` + 1."""
    task = f"{number:06}"

    def call(number: int, method: str, **params: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "method": method, "params": params, "id": number}

    def send(number: int, to: str, **options: Any) -> dict[str, Any]:
        return call(number, "send", **{"from": OWN, "to": to, "type": "note", "task_id": task, **options})

    calls: list[Any] = [
        call(1, "hello", **{"as": OWN}),
        send(2, OWN, dedup_key=task),
        call(3, "subscribe", ack="manual", window=9),
        send(4, OTHER, body="é"),
        [send(5, OWN), call(6, "claim", role=OTHER, lease_s=0.05), call(7, "ping"), send(8, OWN)],
        call(9, "ack", id=last_id + 1, role=OWN),
    ]
    return [json.dumps(one, ensure_ascii=False).encode().ljust(130) + b"\n" for one in calls]


def conversations(round: Round, server: Served) -> None:
    """End conversations at some of their bytes, or at all; the stored messages must agree with the promises."""
    rng = round.random
    whole = len(b"".join(conversation(0, 0)))
    every = [(position, mode) for position in range(whole + 1) for mode in CLOSE_MODES]
    truncations = every if round.seconds >= _LONG_S else rng.sample(every, _SAMPLE)
    first = server.ask("last_id")["id"]
    for number, (position, mode) in enumerate(truncations, start=first):
        _truncate(round, server, number, position, mode)
        round.count(f"conversations truncated by a {mode}")


def _truncate(round: Round, server: Served, number: int, position: int, mode: str) -> None:
    """Run one conversation up to a byte, and check the messages that it stored."""
    lines = conversation(number, server.ask("last_id")["id"])
    data = b"".join(lines)[:position]
    name = f"a conversation that ended by a {mode} at byte {position}"
    {"close": _close, "half-close": _half_close, "kill": _kill}[mode](round, server.path, data)
    wait_until(lambda: _is_over(server), "the end of a connection")
    # At the end of the input a complete line counts without its newline.
    count = sum(data.count(line.rstrip()) for line in lines)
    sends = [0, 0, 1, 1, 2, 4, 4][count]
    stored = server.ask("history", {"task_id": f"{number:06}"})["messages"]
    if len(stored) > sends:
        round.report("duplicated", f"{name} left {len(stored)} messages of {sends} sends")
    if mode == "half-close" and len(stored) < sends:
        round.report("lost", f"{name} left {len(stored)} messages of {sends} answered sends")
    order = [message["recipient_role"][:3] for message in stored]
    round.expect(order == ["cut", "cla", "cut", "cut"][: len(order)], f"{name} left messages to {order}")
    for message in stored:
        (receipt,) = server.ask("receipts", {"id": message["id"]})["receipts"]
        is_free = receipt["state"] == "acked" or not receipt["leased"] or message["recipient"] != OWN
        round.expect(is_free, f"{name} left a lease behind: {receipt}")
    mine = [message["id"] for message in stored if message["recipient"] == OWN]
    unacked = [message["id"] for message in server.ask("inbox", {"role": OWN, "peek": True})["messages"]]
    may_ack = mine[:1] if count == len(lines) else []
    if unacked != mine and unacked != [id for id in mine if id not in may_ack]:
        round.report("lost", f"{name} left {unacked} of {mine} in the inbox")
    if mode == "half-close" and may_ack and unacked == mine:
        round.report("lost", f"{name} left a message unacked whose ack was answered")
    # Ack all, so that the next check reads no more messages.
    for message in stored:
        server.ask("ack", {"id": message["id"], "role": message["recipient"]})


def _is_over(server: Served) -> bool:
    """Whether this call has the only connection, and all work has ended."""
    stats = server.ask("stats", {"full": False})
    return (stats["connections"], stats["waiting_writes"], stats["unacked"]) == (1, 0, 0)


def _close(round: Round, path: str, data: bytes) -> None:
    with connect(path) as connection:
        connection.sendall(data)


def _half_close(round: Round, path: str, data: bytes) -> None:
    try:
        oracle.check(exchange(path, data), oracle.owed(data, MAX_REQUEST, METHODS))
    except AssertionError as error:
        round.report("broken", f"half a conversation of {len(data)} bytes: {error}")


def _kill(round: Round, path: str, data: bytes) -> None:
    """Write from a separate process, and kill that with -9 afterwards."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(path)
            connection.sendall(data)
            os.write(writer, b"!")
            while True:
                signal.pause()
        os._exit(1)
    os.close(writer)
    try:
        os.read(reader, 1)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
