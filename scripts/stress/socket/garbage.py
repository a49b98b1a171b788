"""Noise: what is no request at a helper that others use: any bytes, any JSON, near requests, and far too much of it."""

from __future__ import annotations

import json
import random
from typing import Any

from raven_rpc.jsonrpc.messages import MAX_BATCH, MAX_REQUEST
from raven_rpc.methods.table import METHODS
from scripts.harness.line import connect
from scripts.harness.served import Served
from scripts.stress.fuzz import oracle
from scripts.stress.fuzz.corpus import REQUESTS, WORDS
from scripts.stress.fuzz.mutation import Mutation
from scripts.stress.socket.exchange import talk
from scripts.stress.trial import Round

_TEXTS = ("a:s", "*:s", "", "\x00", "\ud800", "é", "x" * 300, "reader:honest", "sender:honest", "../..", "2.0")
_PING = b'{"jsonrpc":"2.0","method":"ping","id":1}'
_LONGEST_WAIT_S = 0.01


def bytes_at_random(round: Round, helper: Served) -> None:
    """Write bytes of any kind, and pieces of what is JSON."""
    chance = round.random
    for _ in range(20):
        parts = [chance.choice((chance.randbytes(chance.randrange(200)), chance.choice(WORDS))) for _ in range(20)]
        _exchange(round, helper, b"".join(parts), "lines of random bytes")


def json_at_random(round: Round, helper: Served) -> None:
    """Write valid JSON of all shapes, alone and in batches."""
    for _ in range(20):
        lines = [json.dumps(_value(round.random, 4)) for _ in range(5)]
        _exchange(round, helper, "\n".join(lines).encode(), "lines of random JSON")


def near_requests(round: Round, helper: Served) -> None:
    """Write requests to every method with parameters of any kind, and mutations of whole conversations."""
    chance = round.random
    mutation = Mutation(chance, REQUESTS, WORDS)
    for _ in range(20):
        _exchange(round, helper, mutation.next(), "mutated conversations")
        lines = [json.dumps(request(chance)) for _ in range(5)]
        _exchange(round, helper, "\n".join(lines).encode(), "random requests")


def too_much(round: Round, helper: Served) -> None:
    """Write lines of the limit and over it, deep ones, huge batches, and one line in very many pieces."""
    size = MAX_REQUEST + round.random.choice((-1, 0, 1, 1000))
    odd = [
        _PING.ljust(size) + b"\n" + _PING,
        b"x" * size,
        b"[" * 200_000 + b"\n" + b'{"a":' * 100_000,
        b"[" + b",".join([_PING] * 5000) + b"]",
        b"[" + b"1," * (MAX_BATCH - 1) + b"1]",
        b"\x00" * 100_000 + b"\n" * 100_000,
        (_PING + b"\n") * 3000,
    ]
    _exchange(round, helper, round.random.choice(odd), "oversized lines")


def request(chance: random.Random) -> Any:
    """Return a request to some method, with some of its parameters, of any kind."""
    method = chance.choice(sorted(METHODS))
    fields = [field.alias or name for name, field in METHODS[method].params.model_fields.items()]
    params = {name: _value(chance, 2) for name in fields if chance.random() < 0.7}
    if "timeout_s" in fields:
        params["timeout_s"] = chance.choice((0, _LONGEST_WAIT_S, -1, "1"))
    if chance.random() < 0.1:
        params[chance.choice(_TEXTS)] = 1
    given = list(params.values()) if chance.random() < 0.1 and "timeout_s" not in fields else params
    return {"jsonrpc": "2.0", "method": method, "params": given, "id": chance.randrange(9)}


def _exchange(round: Round, helper: Served, data: bytes, what: str) -> None:
    """Write some bytes and end; every line that comes must be owed, and every answer that is owed must come."""
    round.count(what, data.count(b"\n") + 1)
    due = oracle.owed(data, MAX_REQUEST, METHODS)
    if due.waits:  # nobody waits for its end: a mutation may have made its time long
        with connect(helper.path) as connection:
            connection.sendall(data)
        return
    try:
        oracle.check(talk(helper.path, data), due)
    except AssertionError as error:
        round.report("broken", f"{error} (written: {data[:500].hex()})")


def _value(chance: random.Random, depth: int) -> Any:
    """Return some JSON value."""
    kind = chance.randrange(10 if depth else 6)
    if kind < 2:
        return chance.choice((0, 1, -1, 2**53, 2**63, -(2**70), 10**30, 0.5, -0.0, 1e308, chance.randrange(50)))
    if kind < 4:
        return chance.choice(_TEXTS)
    if kind < 6:
        return chance.choice((None, True, False))
    size = chance.randrange(4)
    if kind < 8:
        return [_value(chance, depth - 1) for _ in range(size)]
    names = (*_TEXTS, "jsonrpc", "method", "params", "id", "from", "role")
    return {chance.choice(names): _value(chance, depth - 1) for _ in range(size)}
