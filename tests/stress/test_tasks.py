"""The trial of tasks in its short form, and the report of a bus that differs from the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from raven import BusClient
from scripts.stress import trial
from scripts.stress.outcome import Outcome, describe
from scripts.stress.tasks import scenario

OURS: dict[str, Any] = {"sent": {"first": 1, "undone": 0}, "received": [1], "finished": [["worker-0:s", 1]]}


@pytest.mark.slow
def test_tasks_threads_and_transactions_lose_double_and_lock_nothing(tmp_path: Path) -> None:
    outcome = trial.run(scenario.run, tmp_path, seconds=3, seed=1, rounds=1)

    assert outcome.is_clean, "\n".join(describe("tasks", outcome))
    for action in ("sends", "cancellations", "transactions committed", "transactions rolled back or refused"):
        assert outcome.counts[action] > 0, outcome.counts


@pytest.mark.parametrize(
    ("ledgers", "finding"),
    [
        ([OURS], None),
        ([OURS, {**OURS, "sent": {"second": 2}}], "#2, and the bus has None there"),
        ([OURS, {**OURS, "sent": {"second": 1}}], "#1 was the id of 2 sends"),
        ([OURS, {**OURS, "sent": {}}], "2 consumers have finished #1"),
        ([{**OURS, "sent": {"first": 0}}], "its send was undone"),
        ([{**OURS, "received": [3]}], "#3 was received"),
        ([{**OURS, "finished": []}], "no consumer has got it"),
        ([OURS, {"sent": {}, "received": [], "finished": [["worker-1:s", 1]]}], "the ack of #1 at worker-1:s is lost"),
    ],
)
def test_a_bus_that_differs_from_the_ledger_is_a_finding(
    tmp_path: Path, ledgers: list[dict[str, Any]], finding: str | None
) -> None:
    db, outcome = str(tmp_path / "bus.db"), Outcome()
    with BusClient.at("worker-0:s", db) as bus:
        bus.send(bus.address, "note", {"token": "first"})
        bus.ack(bus.claim()[0].id)

    scenario.compare(trial.Round(tmp_path, 1, 1, outcome), apsw.Connection(db), ledgers)

    assert outcome.is_clean == (finding is None)
    assert finding is None or any(finding in found.text for found in outcome.findings), outcome.findings
