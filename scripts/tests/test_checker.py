"""The checker of histories passes those in which all went well, and finds what is wrong in each that was spoiled."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.stress.history import checker, deliveries, order
from scripts.stress.outcome import Kind
from scripts.tests.history_builder import Tale, made_by
from scripts.tests.history_mutations import ANY, SPOILED, Spoil, good


@pytest.fixture
def tale() -> Tale:
    return good()


def test_a_history_in_which_all_went_well_passes(tale: Tale) -> None:
    assert tale.verdicts() == []


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 120))
def test_any_history_of_a_bus_that_makes_no_mistakes_passes(seed: int, steps: int) -> None:
    assert made_by(random.Random(seed), steps).verdicts() == []


@pytest.mark.parametrize(("spoil", "kind", "words"), SPOILED, ids=[spoil.__name__ for spoil, _, _ in SPOILED])
def test_a_spoiled_history_fails(tale: Tale, spoil: Spoil, kind: Kind, words: str) -> None:
    spoil(tale)

    assert any(verdict.kind == kind and words in verdict.what for verdict in tale.verdicts()), tale.verdicts()


@pytest.mark.parametrize("rule", [*checker.RULES, *deliveries.RULES, *order.RULES], ids=lambda rule: rule.__name__)
def test_each_rule_is_broken_by_a_spoiled_history(rule: checker.Rule) -> None:
    broken = []
    for spoil, _, _ in SPOILED:
        tale = good()
        spoil(tale)
        broken += rule(tale.history())

    assert broken


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.sampled_from(ANY),
)
def test_any_history_fails_when_it_is_spoiled(seed: int, spoil: Spoil) -> None:
    tale = made_by(random.Random(seed), 60)
    spoil(tale)

    assert tale.verdicts()


def test_the_checker_knows_nothing_of_the_code_under_test() -> None:
    code = (
        "import sys; from scripts.stress.history import checker;"
        "print([name for name in sys.modules if name.partition('.')[0] in ('raven', 'raven_rpc', 'apsw')])"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"
