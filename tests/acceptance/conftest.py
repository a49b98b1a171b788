"""Fixtures for tests of whole commands: each run is a process of its own, in a folder and a home of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Put a shell user into an empty folder whose bus is `bus.db` there."""
    return Shell(tmp_path)


@pytest.fixture
def sent(shell: Shell) -> Callable[..., str]:
    """Send a message by command line and return what was printed."""

    def send(
        *options: str, sender: str = "conductor:swarm-1", to: str = "architect:swarm-1", type: str = "plan"
    ) -> str:
        return shell.ok("send", "--from", sender, "--to", to, "-t", type, *options)

    return send
