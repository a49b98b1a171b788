"""Clock steps: delays, leases and expiry follow the wall clock; order and timeouts do not."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from raven.model import clock
from scripts.harness.deadline import Limit
from scripts.stress.clock.clock_offset import ClockOffset
from tests.client_process import Actor
from tests.frozen_clock import Clock
from tests.support import DEADLINE_S, PROGRAMS, Foreign, Program, wait_for_waiting

Spawn = Callable[..., Program]
Act = Callable[[str], Actor]

HOUR_S = 3600.0
DAY_S = 86400.0
YEARS = {1970: datetime(1970, 1, 1, 12, tzinfo=UTC), 2038: datetime(2038, 1, 20, tzinfo=UTC)}
TIMEOUT_S = 0.3


@pytest.fixture
def offset(tmp_path: Path) -> ClockOffset:
    """Return a function that steps the clock of all processes of a test."""
    return ClockOffset(tmp_path / "offset")


@pytest.fixture
def act(spawn: Spawn, offset: ClockOffset, db: str) -> Act:
    """Start a client at an address, in a process whose clock can be stepped."""
    return lambda address: Actor(spawn("run_with_clock", offset.path, "actor", db, address))


def to_year(year: int) -> float:
    """Return the seconds from now until a time."""
    return YEARS[year].timestamp() - time.time()


def ids(messages: list[Any]) -> list[int]:
    return [message["id"] for message in messages]


@pytest.mark.parametrize(("delay_s", "step_s"), [(1000, HOUR_S), (1e6, 30 * DAY_S)])
def test_a_subscriber_sees_mail_that_a_clock_step_made_ready_without_a_ring(
    act: Act, spawn: Spawn, offset: ClockOffset, db: str, delay_s: float, step_s: float
) -> None:
    sent = act("boss:s").call("send", "worker:s", "job", delay_s=delay_s)
    subscriber = spawn("run_with_clock", offset.path, "subscriber", db, "worker:s", '{"poll_interval_s": 0.3}')
    wait_for_waiting(db, "worker:s")

    offset.set(step_s)

    assert subscriber.read()["id"] == sent["id"]


def test_a_delay_lasts_longer_by_as_much_as_the_clock_goes_back(act: Act, offset: ClockOffset) -> None:
    boss = act("boss:s")
    sent = boss.call("send", "boss:s", "job", delay_s=1)
    offset.set(-HOUR_S)

    assert boss.call("claim") == []
    offset.set(1)
    assert ids(boss.call("claim")) == [sent["id"]]


@pytest.mark.parametrize("step_s", [2, HOUR_S, DAY_S])
def test_a_lease_that_a_step_has_ended_is_over_and_its_ack_too_late(
    act: Act, offset: ClockOffset, step_s: float
) -> None:
    first, second = act("worker:s"), act("worker:s")
    sent = first.call("send", "worker:s", "job")
    assert ids(first.call("claim", lease_s=1.5)) == [sent["id"]]

    offset.set(step_s)

    [again] = second.call("claim")
    assert (again["id"], again["attempts"]) == (sent["id"], 2)
    first.begin("ack", sent["id"])
    assert first.error()["error"][0] == "LeaseLostError"


def test_a_lease_lasts_longer_by_as_much_as_the_clock_goes_back_until_it_is_extended(
    act: Act, offset: ClockOffset
) -> None:
    first, second = act("worker:s"), act("worker:s")
    sent = first.call("send", "worker:s", "job")
    first.call("claim", lease_s=1)
    offset.set(-HOUR_S)
    offset.set(2 - HOUR_S)
    assert second.call("claim") == []

    first.call("extend", sent["id"], 1)
    offset.set(4 - HOUR_S)

    assert ids(second.call("claim")) == [sent["id"]]


def test_a_manual_loop_goes_on_with_its_lease_after_the_clock_went_back(
    act: Act, spawn: Spawn, offset: ClockOffset, db: str
) -> None:
    other = act("worker:s")
    sent = other.call("send", "worker:s", "job")
    consumer = spawn("run_with_clock", offset.path, "consumer", db, "worker:s", '{"mode": "listen", "lease_s": 0.6}')
    assert consumer.read()["id"] == sent["id"]

    for step_s in (-HOUR_S, -DAY_S, to_year(1970)):
        offset.set(step_s)
        assert other.call("claim") == []

    consumer.tell("ack")
    assert consumer.read() == {"acked": sent["id"]}
    assert other.call("receipts", sent["id"])[0]["state"] == "acked"


def test_a_renewal_after_the_clock_went_forward_keeps_an_unclaimed_message(
    act: Act, spawn: Spawn, offset: ClockOffset, db: str
) -> None:
    boss = act("boss:s")
    sent = boss.call("send", "worker:s", "job")
    consumer = spawn("run_with_clock", offset.path, "consumer", db, "worker:s", '{"mode": "listen", "lease_s": 0.6}')
    consumer.read()

    offset.set(HOUR_S)
    consumer.tell("ack")

    assert consumer.read() in ({"acked": sent["id"]}, {"error": "LeaseLostError"})
    if boss.call("receipts", sent["id"])[0]["state"] != "acked":
        assert consumer.read()["attempts"] == 2


def test_expiry_follows_the_clock_in_both_directions(act: Act, offset: ClockOffset) -> None:
    boss = act("boss:s")
    early, late = (boss.call("send", "worker:s", "job", expires_in_s=span_s) for span_s in (100, 10_000))
    offset.set(-HOUR_S)
    assert ids(act("worker:s").call("inbox", peek=True)) == [early["id"], late["id"]]

    offset.set(HOUR_S)

    states = [boss.call("receipts", one["id"])[0]["state"] for one in (early, late)]
    assert states == ["expired", "sent"]


def test_order_goes_by_ids_whatever_the_clock_says(act: Act, offset: ClockOffset) -> None:
    worker = act("worker:s")
    sent = []
    for step_s in (0, -HOUR_S, to_year(1970), to_year(2038), DAY_S, -1):
        offset.set(step_s)
        sent.append(worker.call("send", "worker:s", "job"))

    assert ids(sent) == sorted(ids(sent))
    assert ids(worker.call("inbox")) == ids(sent)
    assert ids(worker.call("claim", 10)) == ids(sent)
    assert sent[2]["created_at"][:4] == "1970"
    assert sent[3]["created_at"][:4] == "2038"


def test_a_dedup_key_holds_for_good_whatever_the_clock_says(act: Act, offset: ClockOffset) -> None:
    boss = act("boss:s")
    first = boss.call("send", "worker:s", "job", dedup_key="k")

    for step_s in (-DAY_S, to_year(1970), to_year(2038)):
        offset.set(step_s)
        assert boss.call("send", "worker:s", "job", dedup_key="k")["id"] == first["id"]


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("request", ["nobody:s", "question"]),
        ("request_async", ["nobody:s", "question"]),
        ("wait_receipt", [1]),
        ("wait_receipt_async", [1]),
    ],
)
def test_a_timeout_keeps_its_length_when_the_clock_steps(
    act: Act, offset: ClockOffset, method: str, arguments: list[Any], step_s: float
) -> None:
    boss = act("boss:s")
    boss.call("send", "nobody:s", "job")
    began = time.monotonic()
    boss.begin(method, *arguments, timeout_s=TIMEOUT_S)
    offset.set(step_s)

    error = boss.error()

    assert error["error"][0] == "WaitTimeoutError"
    assert TIMEOUT_S - 0.05 <= error["at"] - began < Limit(DEADLINE_S / 2)


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_no_waiter_spins_after_a_clock_step(
    act: Act, spawn: Spawn, offset: ClockOffset, db: str, foreign: Foreign, step_s: float
) -> None:
    boss = act("boss:s")
    for options in ({"delay_s": 30}, {"expires_in_s": 30}, {"delay_s": 1e6}, {"delay_s": 1, "expires_in_s": 2}):
        boss.call("send", "worker:s", "job", **options)
        boss.call("send", "gone:s", "job", **options)
    act("gone:s").call("claim", 10, lease_s=20)
    waiting = [spawn("run_with_clock", offset.path, "subscriber", db, "idle:s") for _ in range(2)]
    waiting.append(
        spawn("run_with_clock", offset.path, "consumer", db, "worker:s", '{"mode": "listen", "works": true}')
    )
    wait_for_waiting(db, "idle:s", 2)
    wait_for_waiting(db, "worker:s")

    offset.set(step_s)
    before = [cpu_s(program) for program in waiting]
    time.sleep(1.0)  # a fixed pause, because the test expects that nothing happens

    used = [after - first for after, first in zip(map(cpu_s, waiting), before, strict=True)]
    assert max(used) < 0.4, used


@pytest.mark.parametrize("year", YEARS)
def test_every_look_at_the_bus_works_at_the_ends_of_the_clock(
    act: Act, offset: ClockOffset, tmp_path: Path, db: str, year: int
) -> None:
    boss = act("boss:s")
    boss.call("send", "worker:s", "job", expires_in_s=60)
    offset.set(to_year(year))
    boss.call("send", "worker:s", "job", delay_s=60)
    boss.call("send", "worker:s", "job")

    for command in ("inbox -a worker:s", "peers", "stats", "tail --no-follow", "receipts 1", "dead-letters", "doctor",
                    "prune --older-than 1s --dry-run", "claim -a worker:s", "read 3"):  # fmt: skip
        done = subprocess.run(
            [sys.executable, PROGRAMS / "run_with_clock.py", offset.path, "raven", *command.split(), "--db", db],
            capture_output=True,
            cwd=tmp_path,
            timeout=DEADLINE_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b""), (command, done.stderr.decode())
        assert not re.search(rb"(?<!\w)-\d", done.stdout), (command, done.stdout.decode())


def cpu_s(program: Program) -> float:
    """Return how much CPU time a process has used, see clock_getcpuclockid(3)."""
    clock = ctypes.c_int()
    assert not ctypes.CDLL(None).clock_getcpuclockid(program.pid, ctypes.byref(clock))
    return time.clock_gettime(clock.value)


def test_retention_by_age_goes_on_behind_a_message_of_a_clock_that_was_ahead(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[..., BusClient]
) -> None:
    time_of_day = Clock()
    monkeypatch.setattr(clock, "now", time_of_day.now)
    bus = connect("worker:s", retention={"max_age_s": 60, "grace_s": 0})
    time_of_day.step(10 * DAY_S)
    first = bus.send("worker:s", "job")
    time_of_day.step(-10 * DAY_S)
    old = [bus.send("worker:s", "job").id for _ in range(50)]
    for message in bus.inbox(100):
        bus.ack(message.id)
    time_of_day.step(120)

    for _ in range(300):
        bus.ack(bus.send("worker:s", "job").id)

    kept = {message.id for message in bus.tail(follow=False)}
    assert not kept & set(old)
    assert first.id in kept
