"""The processes trial in its short form, and tests that it notices faults."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient, Message
from scripts.stress import trial
from scripts.stress.history.assemble import history_of
from scripts.stress.history.history import BusDump, Delivery, History, StoredMessage
from scripts.stress.history.journal import Event
from scripts.stress.outcome import describe
from scripts.stress.processes import scenario as processes
from scripts.stress.processes.cancel_at_step import CancelAtStep
from scripts.stress.processes.cancel_cases import CancelSetup, SubscribeCase
from scripts.stress.processes.cancel_process import Canceller
from scripts.stress.processes.damaged_doorbells import holds_lock
from scripts.stress.processes.traffic import verdicts
from scripts.stress.processes.traffic_process import RECEIVERS, address
from scripts.stress.report import Report

Connect = Callable[..., BusClient]
ADDRESS = "worker:s"


@pytest.mark.slow
def test_a_short_round_runs_every_part_and_finds_nothing(tmp_path: Path) -> None:
    outcome = trial.run(processes.run, tmp_path, seconds=1, seed=1, rounds=1)

    assert outcome.is_clean, "\n".join(describe("processes", outcome))
    for action in (
        "messages",
        "forks",
        "multiprocessing processes",
        "processes stopped",
        "cancellations",
        "exits in a transaction",
        "doorbells damaged",
        "times without descriptors",
        "messages sent without descriptors",
    ):
        assert outcome.counts[action] > 0, action


def test_a_lost_lock_on_the_database_is_noticed(db: str, connect: Connect) -> None:
    connect(ADDRESS)
    assert holds_lock(Path(db)) is not False

    # Closing any other descriptor of the file drops all locks of the process on it.
    os.close(os.open(db, os.O_RDONLY))

    assert holds_lock(Path(db)) is (False if Path("/proc/locks").exists() else None)


def history(*but: tuple[str, str], more: Sequence[tuple[str, str]] = ()) -> History:
    """Return a valid history of the traffic, without the events `but` and with the events `more`.

    An event is named by its type and the token of its message: `auto-1` is the second message to the address of `auto`.
    """
    events: list[Event] = []
    stored, deliveries, effects = [], [], []

    def tell(process: str, type: str, name: str, /, **fields: Any) -> None:
        if (type, name) not in but:
            events.append(Event(len(events) / 1000, 0.0, process, type, fields))

    def receive(part: str, number: int, id: int) -> None:
        key, lease = f"{part}-{number}", None if part in ("auto", "loop") else id
        fields = {"token": key, "digest": key, "urgency": "prompt", "attempts": 1, "lease": lease}
        tell(f"{part}-0", "asking", "")
        tell(f"{part}-0", "received", key, id=id, **fields)
        if lease is not None:
            tell(f"{part}-0", "acking", key, call=id, id=id, lease=lease)
            tell(f"{part}-0", "acked", key, call=id)

    for part, mode in RECEIVERS.items():
        tell(f"{part}-0", "consuming", "", address=address(part), mode=mode, lease_s=60.0, prefetch=0)
        for number in range(3):
            id, key = len(stored) + 1, f"{part}-{number}"
            tell("producer-0", "sending", key, call=id, key=None, messages=[[key, [address(part)], "prompt", key, 9]])
            tell("producer-0", "sent", key, call=id, ids=[id])
            receive(part, number, id)
            stored.append(StoredMessage(id, address("producer"), key, key, "prompt", None))
            deliveries.append(Delivery(id, address(part), "acked", 1, 9, 0.0))
            if part == "exact" and ("effect", key) not in but:
                effects.append((id, "exact-0"))
    but = ()
    for type, key in more:
        part, number = key.split("-")
        id = 1 + 3 * list(RECEIVERS).index(part) + int(number)
        if type == "received":
            receive(part, int(number), id)
        else:
            effects.append((id, "exact-0"))
    return history_of(events, BusDump(tuple(stored), tuple(deliveries), tuple(effects)))


@pytest.mark.parametrize(
    ("kind", "broken_history"),
    [
        ("lost", history(("received", "auto-1"))),
        ("lost", history(("acking", "manual-2"), ("acked", "manual-2"))),
        ("lost", history(("effect", "exact-0"))),
        ("duplicated", history(more=[("received", "loop-2")])),
        ("duplicated", history(more=[("received", "manual-0")])),
        ("duplicated", history(more=[("effect", "exact-1")])),
        ("broken", history(("sending", "auto-1"), ("sent", "auto-1"))),
        ("reordered", history(("received", "auto-1"), more=[("received", "auto-1")])),
    ],
)
def test_a_broken_promise_in_a_history_is_noticed(kind: str, broken_history: History) -> None:
    assert list(verdicts(history())) == []
    assert {verdict.kind for verdict in verdicts(broken_history)} == {kind}


class Careless:
    """A client whose loops suspend while they hold a message, and leak a descriptor when they are cancelled."""

    def __init__(self, bus: BusClient, fault: str) -> None:
        self._bus = bus
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def subscribe(self, **options: Any) -> AsyncIterator[Message]:
        async for message in self._bus.subscribe(**options):
            opened = os.open("/dev/null", os.O_RDONLY) if self._fault == "leak" else -1
            await asyncio.sleep(0)
            if opened >= 0:
                os.close(opened)
            yield message


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "kind"), [("loss", "lost"), ("leak", "broken"), ("none", None)])
def test_a_loop_that_loses_or_leaks_when_it_is_cancelled_is_noticed(
    db: str, connect: Connect, monkeypatch: pytest.MonkeyPatch, fault: str, kind: str | None
) -> None:
    monkeypatch.setattr("scripts.stress.processes.cancel_cases._MESSAGES", 2)
    if kind:  # the fault is certain, so that no timeout needs to be long
        monkeypatch.setattr("scripts.stress.processes.cancel_cases._TIMEOUT_S", 0.1)
        monkeypatch.setattr("scripts.stress.processes.cancel_process._LEAK_TIMEOUT_S", 0.3)
        monkeypatch.setattr("scripts.stress.processes.cancel_process._KEPT", 0)
    bus = connect(ADDRESS)
    setup = CancelSetup(db, ADDRESS, bus if fault == "none" else Careless(bus, fault))
    report = Report()
    case = SubscribeCase(setup, "auto")

    kinds: set[str] = set()
    for _ in range(5 if kind else 1):  # on a busy machine each step of a pass may miss the faulty moment
        asyncio.run(Canceller(setup, 0, report).at_every_step(case))
        kinds = {kind_found for kind_found, _ in report.findings}
        if kind in kinds:
            break
    setup.close()

    assert (kind in kinds) if kind else not kinds, report.findings


def test_a_message_of_an_earlier_round_does_not_count_for_an_expected_one(db: str, connect: Connect) -> None:
    setup = CancelSetup(db, ADDRESS, connect(ADDRESS))
    setup.sender.send(ADDRESS, "cancel", "of an earlier round")
    expected = setup.sender.send(ADDRESS, "cancel", "of this one", delay_s=0.2).id

    drained = setup.drain({expected})
    setup.close()

    assert expected in drained


@pytest.mark.parametrize("late", [False, True])
def test_a_coroutine_is_cancelled_at_the_given_suspension(late: bool) -> None:
    steps: list[int] = []

    async def three_steps() -> None:
        for number in range(3):
            await asyncio.sleep(0.001)
            steps.append(number)

    async def cancel(at: int) -> tuple[bool, int, int]:
        steps.clear()
        cancelled = CancelAtStep(three_steps(), at, late=late)

        async def run() -> None:
            await cancelled

        [outcome] = await asyncio.gather(asyncio.ensure_future(run()), return_exceptions=True)
        return isinstance(outcome, asyncio.CancelledError), len(steps), cancelled.suspensions

    assert [asyncio.run(cancel(at)) for at in range(1, 5)] == [(True, 0, 1), (True, 1, 2), (True, 2, 3), (False, 3, 3)]
