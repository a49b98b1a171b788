"""Power cuts in each program in the short form, and tests that broken promises are found."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

import pytest

from raven.config import Durability
from scripts.stress.catalogue import TRIALS
from scripts.stress.outcome import Kind, Outcome
from scripts.stress.power.client import FileStepClient
from scripts.stress.power.power_cut import PowerCutter
from scripts.stress.power.programs import Program, ProgramContext
from scripts.stress.power.recording import record
from scripts.stress.power.scenario import RUNS
from scripts.stress.trial import Round


def cut(folder: Path, program: Program, durability: Durability) -> Outcome:
    """Cut the power in one run of a program."""
    outcome = Outcome()
    round = Round(folder, 6, 1.0, outcome)
    recording = record(program, folder, round.random, durability, count(1))
    with PowerCutter(recording, round) as cutter:
        cutter.cut()
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(len(RUNS)), ids=[" ".join(run) for run in RUNS])
def test_no_power_cut_breaks_a_promise(tmp_path: Path, seed: int) -> None:
    outcome = TRIALS["power"].run(tmp_path, seconds=1, seed=seed, rounds=1)

    assert not outcome.findings
    assert outcome.counts["disk images"] >= 20
    assert outcome.counts["commits"] >= 5
    assert outcome.counts["checkpoints"] > 1
    # An image without the last commits proves that the trial has lost unsynced writes.
    assert outcome.counts["images without the last commits"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("durability", "kind"), [("full", "lost"), ("normal", "broken")])
def test_unsynced_commits_are_lost_and_damage_the_file(tmp_path: Path, durability: Durability, kind: Kind) -> None:
    def careless(context: ProgramContext) -> None:
        with context.open_client("boss:s") as boss:
            boss.bus._store.use(lambda connection: connection.execute("PRAGMA synchronous = OFF"))
            for _ in range(20):
                boss.send_many()

    outcome = cut(tmp_path, Program(careless), durability)

    assert outcome.count_findings(kind) > 0


@pytest.mark.slow
def test_a_client_with_normal_durability_breaks_the_promise_of_full(tmp_path: Path) -> None:
    def promising(context: ProgramContext) -> None:
        with context.open_client("boss:s", "normal") as boss:
            client = FileStepClient(
                boss.bus, "worker:s", context.expectations, random.Random(6), context.numbers, durable=True
            )
            for _ in range(10):
                client.send()

    outcome = cut(tmp_path, Program(promising), "normal")

    assert outcome.count_findings("lost") > 0
    assert outcome.count_findings("broken") == 0


@pytest.mark.slow
def test_a_step_in_two_commits_is_found(tmp_path: Path) -> None:
    def halving(context: ProgramContext) -> None:
        with context.open_client("boss:s") as boss:
            for first in range(1, 20, 2):
                with context.expectations.step([f"sent:{first}", f"sent:{first + 1}"], durable=True):
                    for number in (first, first + 1):
                        boss.bus.send("worker:s", "note", {"n": number})

    outcome = cut(tmp_path, Program(halving, moments=0), "full")

    assert any("half of a step" in finding.text for finding in outcome.findings)
