"""The upgrade trial in its short form: buses of the first release, and of a newer one."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.stress import trial
from scripts.stress.outcome import describe
from scripts.stress.upgrade import scenario as upgrade
from scripts.stress.upgrade.old_bus import STATES


@pytest.mark.slow
def test_old_buses_survive_kills_during_their_upgrade_and_newer_ones_are_refused(tmp_path: Path) -> None:
    outcome = trial.run(upgrade.run, tmp_path, seconds=1, seed=6, rounds=1)

    assert outcome.is_clean, "\n".join(describe("upgrade", outcome))
    assert outcome.counts["old buses"] == len(STATES)
    assert outcome.counts["kills"] >= 15
    assert outcome.counts["upgrades"] > outcome.counts["old buses"]
    assert outcome.counts["refused files"] == 6
