"""The kill -9 storm, for some seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.stress.catalogue import TRIALS
from tests.processes import needs_proc


@pytest.mark.slow
@needs_proc
def test_whatever_is_killed_when_each_promise_is_kept(tmp_path: Path) -> None:
    outcome = TRIALS["kill9"].run(tmp_path, seconds=12, seed=6, rounds=1)

    assert not outcome.findings
    assert outcome.done["kills"] >= 30
    for kind in ("from outside", "at an I/O", "at a line", "of the elected watch", "of helpers", "of producers"):
        assert outcome.done[f"kills {kind}"], kind
    assert outcome.done["kills of consumers"]
    assert outcome.done["transactions"]
    assert outcome.done["deaths at one step after another"]
    assert outcome.done["sends that returned"] > outcome.done["sends cut off"]
