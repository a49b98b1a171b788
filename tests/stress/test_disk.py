"""The disk trial in its short form, and a test that it finds a broken promise."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from scripts.stress import trial
from scripts.stress.disk import scenario as disk
from scripts.stress.outcome import describe


@pytest.mark.slow
def test_no_disk_failure_loses_a_message_or_stops_a_client(tmp_path: Path) -> None:
    outcome = trial.run(disk.run, tmp_path, seconds=6, seed=1, rounds=1)

    assert outcome.is_clean, describe("disk", outcome)
    assert outcome.counts["failed calls"] > 20
    assert outcome.counts["failed flushes"] > 20
    assert outcome.counts["raven errors"] > 20
    if not any(action.startswith("skipped (full_disk") for action in outcome.counts):
        assert outcome.counts["full disks"] > 0
        assert outcome.counts["sends refused by the library"] > 0
        assert outcome.counts["sends refused by the server"] > 0
        assert outcome.counts["buses refused without free inodes"] == 2
        assert outcome.counts["read-only mounts"] == 1
    if not any(action.startswith("skipped (permissions") for action in outcome.counts):
        assert outcome.counts["missing permissions"] == 16


@pytest.mark.slow
def test_an_operation_that_fails_halfway_is_found(tmp_path: Path) -> None:
    outcome = trial.run(partial(disk.sweep, calls="broken"), tmp_path, seconds=20, seed=1, rounds=1)

    assert outcome.counts["sweeps of all broken"] == 1
    assert any("it raised, and there are" in finding.text for finding in outcome.findings)
