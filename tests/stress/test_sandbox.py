"""The sandbox trial in its short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.stress.catalogue import TRIALS
from scripts.stress.outcome import describe


@pytest.mark.slow
def test_a_hostile_client_of_a_bound_socket_harms_no_other(tmp_path: Path) -> None:
    outcome = TRIALS["sandbox"].run(tmp_path, seconds=8, seed=3, rounds=1)

    assert outcome.is_clean, "\n".join(describe("sandbox", outcome))
    assert sum(count for name, count in outcome.counts.items() if name.startswith("attacks: ")) >= 3
