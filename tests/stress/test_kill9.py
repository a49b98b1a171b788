"""The kill9 trial in its short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.harness.deadline import slowness
from scripts.stress.catalogue import TRIALS
from tests.processes import needs_proc


@pytest.mark.slow
@needs_proc
def test_kills_at_any_moment_break_no_promise(tmp_path: Path) -> None:
    # On a slow machine the same number of kills takes longer.
    outcome = TRIALS["kill9"].run(tmp_path, seconds=12 * min(4.0, slowness()), seed=6, rounds=1)

    assert not outcome.findings
    assert outcome.counts["kills"] >= 30
    for kind in ("from outside", "at an I/O call", "at a line of code"):
        assert outcome.counts[f"kills {kind}"], kind
    for target in ("the WAL watcher", "servers", "producers", "consumers"):
        assert outcome.counts[f"kills of {target}"], target
    assert outcome.counts["transactions"]
    assert outcome.counts["kills at each step in turn"]
    assert outcome.counts["sends that returned"] > outcome.counts["sends interrupted"]
