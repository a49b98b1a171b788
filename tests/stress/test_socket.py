"""The socket trial in its short form, and its oracle with wrong responses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raven_rpc.methods.table import METHODS
from scripts.stress import trial
from scripts.stress.fuzz import oracle
from scripts.stress.fuzz.oracle import ViolationError
from scripts.stress.outcome import describe
from scripts.stress.socket import scenario as attacks

PING = b'{"jsonrpc":"2.0","method":"ping","id":1}\n'
NOTIFICATION = b'{"jsonrpc":"2.0","method":"ping"}\n'
PONG = b'{"jsonrpc":"2.0","result":"pong","id":1}\n'
PARSE_ERROR = (
    b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error",'
    b'"data":{"kind":"parse_error","retryable":false,"reason":"why"}},"id":null}\n'
)
LIMIT = 1000


def judge(data: bytes, response: bytes) -> None:
    oracle.check(response, oracle.owed(data, LIMIT, METHODS))


@pytest.mark.slow
def test_a_short_round_of_attacks_harms_no_control_client(tmp_path: Path) -> None:
    outcome = trial.run(attacks.run, tmp_path, seconds=6, seed=1, rounds=1)

    assert outcome.is_clean, "\n".join(describe("socket", outcome))
    for action in ("control messages", "connects", "waiting requests", "requests through a bound socket"):
        assert outcome.counts[action] > 0, outcome.counts
    assert sum(times for action, times in outcome.counts.items() if action.startswith("conversations truncated")) >= 40
    assert sum(times for action, times in outcome.counts.items() if action.startswith("servers restarted after")) == 1


@pytest.mark.parametrize(
    ("data", "response"),
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
def test_the_oracle_accepts_owed_responses(data: bytes, response: bytes) -> None:
    judge(data, response)


@pytest.mark.parametrize(
    ("data", "response"),
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
def test_the_oracle_rejects_other_responses(data: bytes, response: bytes) -> None:
    with pytest.raises(ViolationError):
        judge(data, response)


def test_the_oracle_demands_no_response_to_a_waiting_request() -> None:
    waits = json.dumps({"jsonrpc": "2.0", "method": "wait_receipt", "params": [1], "id": 1}).encode()

    judge(waits, b"")
    with pytest.raises(ViolationError):
        judge(waits, PONG + PONG)
