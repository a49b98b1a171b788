"""Cuts: a conversation with a helper that ends at each of its bytes, in every way in which a connection can end."""

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
from scripts.stress.socket.exchange import talk
from scripts.stress.trial import Round

MANNERS = ("close", "half-close", "kill")
ME, YOU = "cut:s", "claimed:s"
# Of a quick round; a long one takes every byte.
_FEW = 45
_LONG_S = 60


def conversation(number: int, last_id: int) -> list[bytes]:
    """Return the lines of one conversation, whose first message will be the one after `last_id`; of equal lengths."""
    task = f"{number:06}"

    def call(number: int, method: str, **params: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "method": method, "params": params, "id": number}

    def send(number: int, to: str, **options: Any) -> dict[str, Any]:
        return call(number, "send", **{"from": ME, "to": to, "type": "note", "task_id": task, **options})

    shapes: list[Any] = [
        call(1, "hello", **{"as": ME}),
        send(2, ME, dedup_key=task),
        call(3, "subscribe", ack="manual", window=9),
        send(4, YOU, body="é"),
        [send(5, ME), call(6, "claim", role=YOU, lease_s=0.05), call(7, "ping"), send(8, ME)],
        call(9, "ack", id=last_id + 1, role=ME),
    ]
    return [json.dumps(shape, ensure_ascii=False).encode().ljust(130) + b"\n" for shape in shapes]


def conversations(round: Round, helper: Served) -> None:
    """Cut conversations at some of their bytes, or at all; then all that was stored must be as the promises say."""
    chance = round.random
    whole = len(b"".join(conversation(0, 0)))
    every = [(place, manner) for place in range(whole + 1) for manner in MANNERS]
    cuts = every if round.seconds >= _LONG_S else chance.sample(every, _FEW)
    first = helper.ask("last_id")["id"]
    for number, (place, manner) in enumerate(cuts, start=first):
        _cut(round, helper, number, place, manner)
        round.count(f"conversations truncated by a {manner}")


def _cut(round: Round, helper: Served, number: int, place: int, manner: str) -> None:
    """Hold one conversation up to a byte, and look at what came of it."""
    lines = conversation(number, helper.ask("last_id")["id"])
    data = b"".join(lines)[:place]
    where = f"a conversation that ended by a {manner} at byte {place}"
    {"close": _close, "half-close": _half_close, "kill": _kill}[manner](round, helper.path, data)
    wait_until(lambda: _is_over(helper), "the end of a connection")
    # A line that is whole but for its newline counts where the client ends.
    count = sum(data.count(line.rstrip()) for line in lines)
    sends = [0, 0, 1, 1, 2, 4, 4][count]
    stored = helper.ask("history", {"task_id": f"{number:06}"})["messages"]
    if len(stored) > sends:
        round.report("duplicated", f"{where} left {len(stored)} messages of {sends} that were sent")
    if manner == "half-close" and len(stored) < sends:
        round.report("lost", f"{where} left {len(stored)} messages of {sends} that were answered")
    order = [message["recipient_role"][:3] for message in stored]
    round.expect(order == ["cut", "cla", "cut", "cut"][: len(order)], f"{where} left messages to {order}")
    for message in stored:
        (receipt,) = helper.ask("receipts", {"id": message["id"]})["receipts"]
        is_free = receipt["state"] == "acked" or not receipt["leased"] or message["recipient"] != ME
        round.expect(is_free, f"{where} left a lease behind: {receipt}")
    mine = [message["id"] for message in stored if message["recipient"] == ME]
    unacked = [message["id"] for message in helper.ask("inbox", {"role": ME, "peek": True})["messages"]]
    may_ack = mine[:1] if count == len(lines) else []
    if unacked != mine and unacked != [id for id in mine if id not in may_ack]:
        round.report("lost", f"{where} left {unacked} of {mine} in the inbox")
    if manner == "half-close" and may_ack and unacked == mine:
        round.report("lost", f"{where} left a message unacked whose ack was answered")
    # The next looks are not to be longer for what this one has left.
    for message in stored:
        helper.ask("ack", {"id": message["id"], "role": message["recipient"]})


def _is_over(helper: Served) -> bool:
    """Whether nobody is connected but who asks this, and all that was begun is done."""
    stats = helper.ask("stats", {"full": False})
    return (stats["connections"], stats["waiting_writes"], stats["unacked"]) == (1, 0, 0)


def _close(round: Round, path: str, data: bytes) -> None:
    with connect(path) as connection:
        connection.sendall(data)


def _half_close(round: Round, path: str, data: bytes) -> None:
    try:
        oracle.check(talk(path, data), oracle.owed(data, MAX_REQUEST, METHODS))
    except AssertionError as error:
        round.report("broken", f"half a conversation of {len(data)} bytes: {error}")


def _kill(round: Round, path: str, data: bytes) -> None:
    """Have a process of its own write, and kill it with -9 when it has."""
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
