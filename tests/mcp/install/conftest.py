"""Fixtures: a machine with hosts, in a temporary home."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.mcp.install.stand_ins import Machine


@pytest.fixture
def machine(shell: Shell, tmp_path: Path) -> Machine:
    """Return a machine that has no host yet."""
    return Machine(shell, tmp_path)
