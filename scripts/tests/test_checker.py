"""The checker passes valid histories, and finds the broken promise in each mutated one."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.stress.history import checker, deliveries, order
from scripts.stress.outcome import Kind
from scripts.tests.history_builder import HistoryBuilder, random_history
from scripts.tests.history_mutations import MUTATIONS, MUTATIONS_OF_ANY, Mutation, valid_history


@pytest.fixture
def builder() -> HistoryBuilder:
    return valid_history()


def test_a_valid_history_passes(builder: HistoryBuilder) -> None:
    assert builder.verdicts() == []


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 120))
def test_any_history_of_a_correct_bus_passes(seed: int, steps: int) -> None:
    assert random_history(random.Random(seed), steps).verdicts() == []


@pytest.mark.parametrize(("mutate", "kind", "words"), MUTATIONS, ids=[mutate.__name__ for mutate, _, _ in MUTATIONS])
def test_a_mutated_history_fails(builder: HistoryBuilder, mutate: Mutation, kind: Kind, words: str) -> None:
    mutate(builder)

    assert any(verdict.kind == kind and words in verdict.text for verdict in builder.verdicts()), builder.verdicts()


@pytest.mark.parametrize("rule", [*checker.RULES, *deliveries.RULES, *order.RULES], ids=lambda rule: rule.__name__)
def test_a_mutation_breaks_each_rule(rule: checker.Rule) -> None:
    broken = []
    for mutate, _, _ in MUTATIONS:
        builder = valid_history()
        mutate(builder)
        broken += rule(builder.history())

    assert broken


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.sampled_from(MUTATIONS_OF_ANY),
)
def test_any_history_fails_after_a_mutation(seed: int, mutate: Mutation) -> None:
    builder = random_history(random.Random(seed), 60)
    mutate(builder)

    assert builder.verdicts()


def test_the_checker_imports_nothing_of_the_code_under_test() -> None:
    code = (
        "import sys; from scripts.stress.history import checker;"
        "print([name for name in sys.modules if name.partition('.')[0] in ('raven', 'raven_rpc', 'apsw')])"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"
