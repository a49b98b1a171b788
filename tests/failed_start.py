"""Starts of a server that come to nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from tests.support import DEADLINE_S


def serve_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "raven", "serve", *options]


def environment() -> dict[str, str]:
    """Return the environment without what raven goes by."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAVEN")}


def refusal(*options: str, code: int = 7, command: list[str] | None = None, **process: Any) -> str:
    """Start a server that must end by itself with an exit code and one line on stderr; returns the line."""
    ended = subprocess.run(
        command or serve_command(*options),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE_S,
        check=False,
        **process,
    )
    assert ended.returncode == code, ended
    assert ended.stdout == "", ended
    assert ended.stderr.startswith("error: "), ended
    assert ended.stderr.count("\n") == 1, ended
    return ended.stderr
