"""The trial of the socket under abuse in its short form, and its oracle with answers that must be found wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raven_rpc.methods.table import METHODS
from scripts.stress import trial
from scripts.stress.fuzz import oracle
from scripts.stress.fuzz.oracle import ViolationError
from scripts.stress.outcome import describe
from scripts.stress.socket import scenario as abuse

PING = b'{"jsonrpc":"2.0","method":"ping","id":1}\n'
NOTIFICATION = b'{"jsonrpc":"2.0","method":"ping"}\n'
PONG = b'{"jsonrpc":"2.0","result":"pong","id":1}\n'
PARSE_ERROR = (
    b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error",'
    b'"data":{"kind":"parse_error","retryable":false,"reason":"why"}},"id":null}\n'
)
LIMIT = 1000


def judge(data: bytes, found: bytes) -> None:
    oracle.check(found, oracle.owed(data, LIMIT, METHODS))


@pytest.mark.slow
def test_a_short_round_of_abuse_harms_nobody(tmp_path: Path) -> None:
    outcome = trial.run(abuse.run, tmp_path, seconds=6, seed=1, rounds=1)

    assert outcome.is_clean, "\n".join(describe("socket", outcome))
    for what in ("control messages", "connects", "waiting requests", "requests through a bound socket"):
        assert outcome.counts[what] > 0, outcome.counts
    assert sum(times for what, times in outcome.counts.items() if what.startswith("conversations truncated")) >= 40
    assert sum(times for what, times in outcome.counts.items() if what.startswith("servers restarted after")) == 1


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (PING, PONG),
        (NOTIFICATION, b""),
        (b"\n \r\n", b""),
        (b"[%b,%b]" % (PING.strip(), NOTIFICATION.strip()), b"[%b]\n" % PONG.strip()),
        (b"{", PARSE_ERROR),
        (b'{"a":1,"a":1}', PARSE_ERROR),
        (b"\xff\n" + PING, PONG + PARSE_ERROR),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", PARSE_ERROR),
    ],
)
def test_the_oracle_takes_what_is_owed(data: bytes, found: bytes) -> None:
    judge(data, found)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (PING, b""),
        (PING, PONG + PONG),
        (PING, PONG.replace(b"1}", b"2}")),
        (PING, PONG.replace(b"1}", b"1.5}")),
        (PING, PONG.strip()),
        (PING, b"pong\n"),
        (PING, PONG.replace(b'"jsonrpc":"2.0",', b"")),
        (PING, PONG.replace(b'"pong"', b'"pong","error":{}')),
        (PING, PONG.replace(b'"pong"', b"NaN")),
        (NOTIFICATION, PONG),
        (b"[%b]" % NOTIFICATION.strip(), b"[]\n"),
        (b"[%b]" % PING.strip(), PONG),
        (b"{", PARSE_ERROR.replace(b"null", b"1")),
        (b"{", PARSE_ERROR.replace(b"-32700", b"-32600")),
        (b"{", PARSE_ERROR.replace(b'"kind":"parse_error",', b"")),
        (b"{", PARSE_ERROR.replace(b"false", b"0")),
        (PING, PARSE_ERROR.replace(b"null", b"1").replace(b"-32700", b"-32603")),
        (b"x" * (LIMIT + 1), PARSE_ERROR),
        (PING, PONG + b'{"jsonrpc":"2.0","method":"other","params":{}}\n'),
    ],
)
def test_the_oracle_finds_what_is_not(data: bytes, found: bytes) -> None:
    with pytest.raises(ViolationError):
        judge(data, found)


def test_the_oracle_wants_nothing_for_sure_where_something_waits() -> None:
    waits = json.dumps({"jsonrpc": "2.0", "method": "wait_receipt", "params": [1], "id": 1}).encode()

    judge(waits, b"")
    with pytest.raises(ViolationError):
        judge(waits, PONG + PONG)
