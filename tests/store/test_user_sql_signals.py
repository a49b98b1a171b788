"""Signals during user SQL: a handler's exception ends the statement, and the transaction is rolled back at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from raven import BusClient, BusyError
from scripts.harness.deadline import Limit
from tests.support import DEADLINE_S, Foreign, Program, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
NUMBERS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
ENDLESS = {
    "select": f"{NUMBERS} SELECT count(*) FROM n",
    "insert": f"INSERT INTO own {NUMBERS} SELECT i FROM n WHERE i < 0",
    "create": f"CREATE TABLE other AS {NUMBERS} SELECT i FROM n WHERE i < 0",
}
# 100 ms are promised; the tests run several at once.
AT_ONCE_S = Limit(2.0)


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    client = connect("boss:s")
    client.execute("CREATE TABLE own (i)")
    return client


@pytest.mark.parametrize("statement", ENDLESS)
@pytest.mark.parametrize("way", ["alone", "transaction"])
@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "SystemExit"), (signal.SIGUSR1, "OwnError")],
)
def test_a_signal_ends_user_sql_and_rolls_back(
    db: str,
    bus: BusClient,
    foreign: Foreign,
    spawn: Spawn,
    statement: str,
    way: str,
    number: signal.Signals,
    error: str,
) -> None:
    program = spawn("user_sql", db, way, ENDLESS[statement])
    assert program.read() == "runs"

    began = time.monotonic()
    program.signal(number)

    assert program.read() == [error, 0, 0]
    assert time.monotonic() - began < AT_ONCE_S
    foreign.send("worker:s")
    assert program.wait() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_a_transaction_of_the_command_line(
    db: str, bus: BusClient, number: signal.Signals, code: int
) -> None:
    steps = [{"method": "send", "params": {"to": "worker:s", "type": "note"}}]
    steps.append({"method": "execute", "params": {"sql": ENDLESS["select"]}})
    command = subprocess.Popen(
        [sys.executable, "-m", "raven", "transaction", "--db", db, "-a", "worker:s"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert command.stdin
    command.stdin.write("\n".join(map(json.dumps, steps)).encode())
    command.stdin.close()
    with BusClient.at("prober:s", db, busy_timeout_s=0, register=False) as prober:
        wait_until(lambda: is_locked(prober), "the transaction of the command")

        command.send_signal(number)
        began = time.monotonic()
        wait_until(lambda: not is_locked(prober), "the end of the transaction")

        assert time.monotonic() - began < AT_ONCE_S
    assert command.wait(DEADLINE_S) == code
    assert command.stdout
    assert command.stdout.read() == b""
    assert bus.last_id() == 0


def is_locked(prober: BusClient) -> bool:
    """Whether another process holds the write lock."""
    try:
        prober.execute("SELECT 1")
    except BusyError:
        return True
    return False
