"""The trial of strangers in its short form, and its report of a stranger that learns something."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from scripts.stress import trial
from scripts.stress.outcome import describe
from scripts.stress.strangers import scenario

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")


@as_root
@pytest.mark.slow
def test_a_stranger_learns_nothing_gets_nothing_in_and_stops_nothing(tmp_path: Path) -> None:
    outcome = trial.run(scenario.run, tmp_path, seconds=5, seed=1, rounds=1)

    assert outcome.is_clean, "\n".join(describe("strangers", outcome))
    for action in ("messages", "clients opened", "clients refused because of a planted file", "files planted"):
        assert outcome.counts[action] > 0, outcome.counts


@as_root
@pytest.mark.slow
def test_a_bus_that_the_stranger_can_read_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario, "Owner", _Careless)
    outcome = trial.run(scenario.run, tmp_path, seconds=3, seed=1, rounds=1)

    assert any("the mail was read in bus.db" in finding.text for finding in outcome.findings), outcome.findings


class _Careless(scenario.Owner):
    """An owner who lets every user read the bus."""

    def _send(self, bus: object) -> None:
        super()._send(bus)  # type: ignore[arg-type]
        for suffix in ("", "-wal"):
            os.chmod(self._db + suffix, stat.S_IRUSR | stat.S_IWUSR | stat.S_IROTH)
