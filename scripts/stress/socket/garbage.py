"""Garbage: input that is no request, or far too much: random bytes, random JSON, near requests and oversized lines."""

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
from scripts.stress.socket.exchange import exchange
from scripts.stress.trial import Round

_TEXTS = ("a:s", "*:s", "", "\x00", "\ud800", "é", "x" * 300, "reader:control", "sender:control", "../..", "2.0")
_PING = b'{"jsonrpc":"2.0","method":"ping","id":1}'
_LONGEST_WAIT_S = 0.01


def random_bytes(round: Round, server: Served) -> None:
    """Write random bytes, and pieces of JSON."""
    rng = round.random
    for _ in range(20):
        parts = [rng.choice((rng.randbytes(rng.randrange(200)), rng.choice(WORDS))) for _ in range(20)]
        _exchange(round, server, b"".join(parts), "lines of random bytes")


def random_json(round: Round, server: Served) -> None:
    """Write valid JSON of all shapes, alone and in batches."""
    for _ in range(20):
        lines = [json.dumps(_value(round.random, 4)) for _ in range(5)]
        _exchange(round, server, "\n".join(lines).encode(), "lines of random JSON")


def near_requests(round: Round, server: Served) -> None:
    """Write requests to every method with random parameters, and mutations of whole conversations."""
    rng = round.random
    mutation = Mutation(rng, REQUESTS, WORDS)
    for _ in range(20):
        _exchange(round, server, mutation.next(), "mutated conversations")
        lines = [json.dumps(request(rng)) for _ in range(5)]
        _exchange(round, server, "\n".join(lines).encode(), "random requests")


def oversized_lines(round: Round, server: Served) -> None:
    """Write lines at the limit and over it, deep ones, huge batches, and one line in very many pieces."""
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
    _exchange(round, server, round.random.choice(odd), "oversized lines")


def request(rng: random.Random) -> Any:
    """Return a request to a random method, with random values for some of its parameters."""
    method = rng.choice(sorted(METHODS))
    fields = [field.alias or name for name, field in METHODS[method].params.model_fields.items()]
    params = {name: _value(rng, 2) for name in fields if rng.random() < 0.7}
    if "timeout_s" in fields:
        params["timeout_s"] = rng.choice((0, _LONGEST_WAIT_S, -1, "1"))
    if rng.random() < 0.1:
        params[rng.choice(_TEXTS)] = 1
    arguments = list(params.values()) if rng.random() < 0.1 and "timeout_s" not in fields else params
    return {"jsonrpc": "2.0", "method": method, "params": arguments, "id": rng.randrange(9)}


def _exchange(round: Round, server: Served, data: bytes, action: str) -> None:
    """Write some bytes and end; each response must be owed, and each owed response must come."""
    round.count(action, data.count(b"\n") + 1)
    due = oracle.owed(data, MAX_REQUEST, METHODS)
    if due.waits:  # do not wait for the end: a mutation may have made the timeout long
        with connect(server.path) as connection:
            connection.sendall(data)
        return
    try:
        oracle.check(exchange(server.path, data), due)
    except AssertionError as error:
        round.report("broken", f"{error} (written: {data[:500].hex()})")


def _value(rng: random.Random, depth: int) -> Any:
    """Return a random JSON value."""
    kind = rng.randrange(10 if depth else 6)
    if kind < 2:
        return rng.choice((0, 1, -1, 2**53, 2**63, -(2**70), 10**30, 0.5, -0.0, 1e308, rng.randrange(50)))
    if kind < 4:
        return rng.choice(_TEXTS)
    if kind < 6:
        return rng.choice((None, True, False))
    size = rng.randrange(4)
    if kind < 8:
        return [_value(rng, depth - 1) for _ in range(size)]
    names = (*_TEXTS, "jsonrpc", "method", "params", "id", "from", "role")
    return {rng.choice(names): _value(rng, depth - 1) for _ in range(size)}
