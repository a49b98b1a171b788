"""The starvation trial in its short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.stress import trial
from scripts.stress.outcome import describe
from scripts.stress.starvation import scenario as starvation
from scripts.stress.starvation.honest import Caller


@pytest.mark.slow
def test_beside_long_transactions_no_call_fails_or_waits_for_long(tmp_path: Path) -> None:
    outcome = trial.run(starvation.run, tmp_path, seconds=6, seed=2, rounds=1)

    assert outcome.is_clean, "\n".join(describe("starvation", outcome))
    assert outcome.counts["long transactions"] > 10
    for kind in Caller("", "").kinds:
        assert outcome.counts[kind] > 0, outcome.counts
