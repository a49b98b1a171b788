"""Power cuts: each history in its short form, and what the trial says of programs that do not keep their word."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

import pytest

from raven.config import Durability
from scripts.stress.catalogue import TRIALS
from scripts.stress.outcome import Kind, Outcome
from scripts.stress.power.client import DirectHand
from scripts.stress.power.power_cut import Cutter
from scripts.stress.power.programs import Program, Scene
from scripts.stress.power.recording import record
from scripts.stress.power.scenario import HISTORIES
from scripts.stress.trial import Round


def cut(folder: Path, program: Program, durability: Durability) -> Outcome:
    """Cut the power in one run of a program."""
    outcome = Outcome()
    round = Round(folder, 6, 1.0, outcome)
    history = record(program, folder, round.random, durability, count(1))
    with Cutter(history, round) as cutter:
        cutter.cut()
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(len(HISTORIES)), ids=[" ".join(history) for history in HISTORIES])
def test_no_power_cut_breaks_a_promise(tmp_path: Path, seed: int) -> None:
    outcome = TRIALS["power"].run(tmp_path, seconds=1, seed=seed, rounds=1)

    assert not outcome.findings
    assert outcome.counts["disk images"] >= 20
    assert outcome.counts["commits"] >= 5
    assert outcome.counts["checkpoints"] > 1
    # Where nothing more could be lost than what had not returned, nothing would have been tried.
    assert outcome.counts["images without the last commits"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("durability", "kind"), [("full", "lost"), ("normal", "broken")])
def test_commits_that_nobody_syncs_are_lost_and_spoil_the_file(
    tmp_path: Path, durability: Durability, kind: Kind
) -> None:
    def careless(scene: Scene) -> None:
        with scene.hand("boss:s") as boss, boss.bus._store._connected() as connection:
            connection.execute("PRAGMA synchronous = OFF")
            for _ in range(20):
                boss.send_many()

    outcome = cut(tmp_path, Program(careless), durability)

    assert outcome.count_findings(kind) > 0


@pytest.mark.slow
def test_a_client_of_normal_durability_does_not_keep_the_promise_of_the_other(tmp_path: Path) -> None:
    def promising(scene: Scene) -> None:
        with scene.hand("boss:s", "normal") as boss:
            hand = DirectHand(boss.bus, "worker:s", scene.ledger, random.Random(6), scene.numbers, durable=True)
            for _ in range(10):
                hand.send()

    outcome = cut(tmp_path, Program(promising), "normal")

    assert outcome.count_findings("lost") > 0
    assert outcome.count_findings("broken") == 0


@pytest.mark.slow
def test_a_step_that_comes_in_two_halves_is_found(tmp_path: Path) -> None:
    def halving(scene: Scene) -> None:
        with scene.hand("boss:s") as boss:
            for first in range(1, 20, 2):
                with scene.ledger.step([f"sent:{first}", f"sent:{first + 1}"], durable=True):
                    for number in (first, first + 1):
                        boss.bus.send("worker:s", "note", {"n": number})

    outcome = cut(tmp_path, Program(halving, moments=0), "full")

    assert any("half of a step" in finding.text for finding in outcome.findings)
