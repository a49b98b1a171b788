"""The fuzz trial in its short form, and tests that it finds broken parsers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raven_rpc.client import connection
from raven_rpc.jsonrpc import errors, framing, messages
from scripts.stress import trial
from scripts.stress.fuzz import scenario as fuzz
from scripts.stress.fuzz.corpus import REQUESTS, WORDS
from scripts.stress.fuzz.mutation import Mutation
from scripts.stress.fuzz.targets import TARGETS
from scripts.stress.outcome import describe
from scripts.stress.trial import Round


@pytest.mark.slow
def test_a_short_round_of_fuzzing_finds_nothing(tmp_path: Path) -> None:
    outcome = trial.run(fuzz.run, tmp_path, seconds=3, seed=1, rounds=1)

    assert outcome.is_clean, "\n".join(describe("fuzz", outcome))
    assert {name for name in TARGETS if outcome.counts[f"{name} inputs"] >= len(fuzz.seeds(name))} == set(TARGETS)


def test_the_same_seed_makes_the_same_inputs() -> None:
    first, second = (Mutation(random.Random(7), REQUESTS, WORDS) for _ in range(2))

    inputs = [first.next() for _ in range(200)]

    assert inputs == [second.next() for _ in range(200)]
    assert len(set(inputs)) > 100


def lose_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept an object with a duplicate key."""
    monkeypatch.setattr(messages, "_decode", json.JSONDecoder().decode)


def lose_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop an incomplete line at the next piece."""
    cut = framing.Lines.cut

    def forgetful(self: Any, data: bytes) -> Any:
        self._partial.clear()
        return cut(self, data)

    monkeypatch.setattr(framing.Lines, "cut", forgetful)


def lose_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer errors without the id."""
    failure = messages.failure
    monkeypatch.setattr(messages, "failure", lambda id, error: failure(None, error))


def lose_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer a parse error as an internal error."""
    monkeypatch.setattr(errors, "standard", lambda code, reason: {"code": -32603, "message": reason, "data": {}})


def lose_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client raise a KeyError."""
    monkeypatch.setattr(connection, "result_of", lambda response: response["result"])


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("parser", lose_a_key),
        ("parser", lose_a_line),
        ("server", lose_a_key),
        ("server", lose_an_id),
        ("server", lose_a_kind),
        ("client", lose_an_error),
    ],
)
def test_a_fault_is_reported_with_its_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    fault(monkeypatch)

    def scenario(round: Round) -> None:
        fuzz._mutate(round, target, round.folder, 0.1)

    outcome = trial.run(scenario, tmp_path, seconds=0.1, seed=1, rounds=1)

    assert not outcome.is_clean
    assert "fuzz.reproduce" in outcome.findings[0].text
