"""The frame of the trials: rounds, seeds, the table and the command."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts.stress import trial
from scripts.stress.catalogue import ALIASES, TRIALS
from scripts.stress.outcome import Finding, Outcome, describe, table
from scripts.stress.results import Results

ROOT = Path(__file__).parents[2]


def torture(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.stress", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_same_seed_gives_a_round_the_same_chance(tmp_path: Path) -> None:
    drawn: list[float] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        trial.run(lambda one: drawn.append(one.random.random()), tmp_path / name, seconds=1, seed=5, rounds=1)

    assert drawn[0] == drawn[1]


def test_a_later_round_is_done_again_by_its_own_seed(tmp_path: Path) -> None:
    drawn: list[tuple[int, float]] = []
    for name, seed, rounds in (("a", 5, 3), ("b", 7, 1)):
        (tmp_path / name).mkdir()
        trial.run(
            lambda one: drawn.append((one.seed, one.random.random())),
            tmp_path / name,
            seconds=30,
            seed=seed,
            rounds=rounds,
        )

    assert drawn[2] == drawn[3]


def test_an_exception_ends_a_round_and_is_a_finding(tmp_path: Path) -> None:
    def fail(_: trial.Round) -> None:
        raise ValueError("this cannot be")

    outcome = trial.run(fail, tmp_path, seconds=30, seed=11, rounds=2)

    assert [(finding.kind, finding.text, finding.seed) for finding in outcome.findings] == [
        ("broken", "ValueError: this cannot be", 11),
        ("broken", "ValueError: this cannot be", 12),
    ]


def test_the_table_says_what_was_done_and_what_was_lost() -> None:
    outcome = Outcome(
        Counter(sends=1200, kills=7), [Finding("lost", "message 4", 9), Finding("duplicated", "5", 9)], 3, 61.0
    )

    header, row = table({"kill9": outcome}).splitlines()

    assert header.split() == ["trial", "rounds", "s", "lost", "duplicated", "reordered", "broken", "actions"]
    assert row.split() == ["kill9", "3", "61", "1", "1", "0", "0", "7", "kills,", "1,200", "sends"]


def test_a_finding_comes_with_the_command_that_does_it_again() -> None:
    lines = describe("kill9", Outcome(findings=[Finding("lost", "message 4", 9)]))

    assert lines == ["lost in kill9: message 4\n    repeat with: scripts/torture kill9 --seed 9 --rounds 1"]


def test_many_findings_are_counted_and_not_all_shown() -> None:
    assert describe("kill9", Outcome(findings=[Finding("lost", "it", 9)] * 100))[-1] == "... and 88 more in kill9"


def test_the_command_lists_every_trial() -> None:
    answer = torture("--help")

    assert answer.returncode == 0
    assert all(name in answer.stdout for name in TRIALS)


def test_the_command_knows_no_other_names() -> None:
    answer = torture("drizzle")

    assert answer.returncode == 2
    assert "no trial 'drizzle': use kill9, " in answer.stderr


def test_the_command_accepts_former_names() -> None:
    answer = torture("storm", "foreign", "drizzle")

    assert "no trial 'drizzle'" in answer.stderr
    assert set(ALIASES.values()) <= set(TRIALS)


def test_the_command_wants_time_that_passes() -> None:
    answer = torture("upgrade", "--seconds", "-1")

    assert answer.returncode == 2
    assert "--seconds" in answer.stderr


@pytest.mark.slow
def test_the_command_prints_its_seed_and_the_table() -> None:
    answer = torture("upgrade", "--seconds", "1", "--rounds", "1", "--seed", "12")

    assert answer.returncode == 0, answer
    assert answer.stdout.startswith("seed 12\n")
    assert "actions" in answer.stdout


def test_results_are_read_again_as_they_were_written() -> None:
    outcome = Outcome(Counter(kills=7), [Finding("lost", "message 4", 9)], 3, 61.0)
    results = Results("a machine", "2026-01-31", "0.3.0", 9, {"kill9": outcome})

    assert Results.load(results.dump()) == results
    assert results.markdown().splitlines()[2] == "| kill9 | 61 | 1 | 0 | 0 | 0 | 7 kills |"


def test_the_page_of_reliability_shows_the_stored_results() -> None:
    results = Results.load((ROOT / "docs" / "torture.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")

    assert results.markdown() in page
    assert results.machine in page
    assert list(results.outcomes) == list(TRIALS)
    assert all(outcome.is_clean for outcome in results.outcomes.values())


def test_a_scenario_that_fails_at_once_is_not_begun_without_end(tmp_path: Path) -> None:
    def fail(_: trial.Round) -> None:
        raise ValueError("this cannot be")

    assert trial.run(fail, tmp_path, seconds=30, seed=11).rounds == 10
